"""Texts in local files: plain text, JSON, CSV, parquet, and others by `datasets`. Paths are literal, never patterns."""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets

from .built_corpora import built_once
from .csv_files import SEPARATORS, check_csv_file, csv_texts
from .held_out import SHARE, Cut, check_share, cut_of, parted
from .json_files import check_json_file, json_texts, missing_column
from .other_files import check_other_file, other_texts
from .parquet_files import check_parquet_file, parquet_texts

_KINDS = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")
_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
}
_SPLITS |= {"dev": "validation", "test": "test", "testing": "test"}
_SAMPLES = ("document", "paragraph", "line")
# Files of the Hub and of `datasets` beside the data.
_NO_TEXTS = {"readme.md", "config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json"}
_CHUNK = 1 << 20
_VERSION = 2  # of the cached rows: change it whenever the same files give other rows


def load_text_files(
    path: Path,
    streaming: bool = False,
    text_column: str = "text",
    sample_by: str = "document",
    held_out: float = SHARE,
    cache_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Loads the texts of a file, or of all files in a folder, by split, with one column `text`.

    Byte order marks are removed, and the line ends of text files become "\\n".

    Files of other kinds are read by the library `datasets`: Arrow, and compressed ones of any kind, such as
    `.jsonl.gz`, among others.

    Unless they are streamed, the texts are cached by the contents of their files, which are read completely for that
    each time.

    Args:
        path: a file, or a folder with files of one kind: text (`.txt`, `.text`, `.md`), JSON (`.json`,
            `.jsonl`, `.ndjson`), `.csv`, `.tsv` or `.parquet`, or, if there is none of these, of one other kind. In a
            folder, files with a word such as "train", "valid", "dev" or "test" in their own or their
            folder's name belong to that split; all others are training data, and so is a single file of any name. A
            folder's `README.md`, and other files of the Hub and of `datasets`, are ignored. A stream has one shard per
            file.
        streaming: read the files during iteration.
        text_column: the field or column with the texts, of all but text files.
        sample_by: a row of a text file: "document" (all of it), "paragraph" (up to an empty line) or "line", each
            with its line breaks.
        held_out: the share that becomes the split `validation` if all files are training data: every n-th file, or of
            each file the last rows, or of few rows the end of the text; see `ladd_hf.data.held_out`.
        cache_dir: where the texts are kept; `None`: the cache of `datasets`.

    Raises:
        FileNotFoundError: no file, or none of these kinds.
        ValueError: files of several kinds, an empty file, one that is not UTF-8 (with the offset of the first bad byte)
            or damaged, or no such column. A stream of any but text files raises it when it reaches the defect.
    """
    if sample_by not in _SAMPLES:
        raise ValueError(f"`sample_by` is {sample_by!r}, but one of {', '.join(map(repr, _SAMPLES))} is accepted.")
    share = check_share(held_out)
    files = _files(path)
    kind = _kind(path, files)
    by_split: dict[str, list[TextFile]] = {}
    digests: dict[str, list[str]] = {}
    for file in files:
        split = _split(file, path)
        by_split.setdefault(split, []).append(TextFile(str(file), kind, text_column, sample_by))
        digests.setdefault(split, []).append(_checked(file, kind, text_column, sample_by, streaming))
    if streaming:
        return {name: _stream(of_split, name) for name, of_split in _with_held_out(by_split, share).items()}
    choices: Any = sample_by if kind == "text" else text_column if kind in _KINDS.values() else [text_column, sample_by]
    key = [_VERSION, kind, choices, digests, share]

    def texts() -> dict[str, Iterator[str | None]]:
        return {name: _texts(of_split) for name, of_split in _with_held_out(by_split, share).items()}

    return dict(built_once("texts", key, texts, cache_dir))


@dataclass(frozen=True)
class TextFile:
    """A file's texts, or those before or after a cut.

    Args:
        path: of the file.
        kind: "text", "json", "csv", "tsv" or "parquet", or an ending such as ".arrow", which `datasets` reads.
        column: the field or column with the texts.
        sample_by: a row of a text file.
        cut: beginning of the held-out texts; `None`: the file is read completely.
        behind: read the texts after the cut, not those before it.
    """

    path: str
    kind: str
    column: str
    sample_by: str
    cut: Cut | None = None
    behind: bool = False

    def texts(self) -> Iterator[str | None]:
        """Yields the texts, row by row."""
        rows = self._rows()
        if self.cut is None:
            return rows
        return self.cut.behind(rows) if self.behind else self.cut.before(rows)

    def parts(self, share: float) -> tuple[TextFile, TextFile] | None:
        """Returns the kept part of the file and the held-out share; `None` if there is too little text."""
        cut = cut_of(self._number_of_rows(), self._rows(), share)
        return None if cut is None else (replace(self, cut=cut), replace(self, cut=cut, behind=True))

    def _rows(self) -> Iterator[str | None]:
        if self.kind == "text":
            return _plain_texts(self.path, self.sample_by)
        if self.kind == "json":
            return json_texts(self.path, self.column)
        if self.kind == "parquet":
            return parquet_texts(self.path, self.column)
        if self.kind in SEPARATORS:
            return csv_texts(self.path, self.column, SEPARATORS[self.kind])
        return other_texts(self.path, self.column, self.sample_by)

    def _number_of_rows(self) -> int:
        if self.kind == "parquet":
            return check_parquet_file(Path(self.path), self.column)
        if self.kind == "text" and self.sample_by == "document":
            return 1
        return sum(1 for _ in self._rows())


def _plain_texts(file: str, sample_by: str) -> Iterator[str]:
    """Yields the rows of a text file, with line ends "\\n"."""
    with open(file, encoding="utf-8-sig") as lines:
        if sample_by == "document":
            yield lines.read()
        elif sample_by == "line":
            yield from lines
        else:
            held: list[str] = []
            for line in lines:
                if line != "\n":
                    held.append(line)
                elif held:
                    yield "".join(held).removesuffix("\n")
                    held = []
            if held:
                yield "".join(held)


def _with_held_out(by_split: dict[str, list[TextFile]], share: float) -> dict[str, list[TextFile]]:
    """Returns the files by split, with a share for validation if there is only training data."""
    if not share or by_split.keys() != {"train"}:
        return by_split
    files = by_split["train"]
    if (whole := parted(files, share)) is not None and whole[0]:
        return {"train": whole[0], "validation": whole[1]}
    kept, out = [], []
    for file in files:
        parts = file.parts(share)
        kept.append(file if parts is None else parts[0])
        out += [] if parts is None else [parts[1]]
    return {"train": kept, "validation": out} if out else by_split


def _checked(file: Path, kind: str, column: str, sample_by: str, streaming: bool) -> str:
    """Returns a digest of the file's content, empty for a stream. Raises `ValueError` for an unreadable file."""
    if kind in ("text", "json") or kind in SEPARATORS:
        digest = check_text_file(file)
        if kind == "json":
            check_json_file(str(file), column)
        if kind in SEPARATORS:
            check_csv_file(str(file), column, SEPARATORS[kind])
        return digest
    if kind == "parquet":
        check_parquet_file(file, column)
    else:
        check_other_file(str(file), column, sample_by)
    if streaming:
        return ""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _texts(files: Sequence[TextFile]) -> Iterator[str | None]:
    for file in files:
        yield from file.texts()


def _rows(files: Sequence[TextFile]) -> Iterator[dict[str, str | None]]:
    for text in _texts(files):
        yield {"text": text}


def _stream(files: list[TextFile], split: str) -> datasets.IterableDataset:
    features = datasets.Features({"text": datasets.Value("string")})
    return datasets.IterableDataset.from_generator(_rows, features, {"files": files}, datasets.NamedSplit(split))


def only_text(data: Any, column: str, source: str) -> Any:
    """Returns the data with the texts of `column` as its one column, `text`."""
    names = data.column_names
    if names is None:  # a stream whose columns are known only from its first row
        names = list(next(iter(data), {column: ""}))
    if column not in names:
        raise ValueError(missing_column(source, column, names))
    kind = (data.features or {}).get(column)
    if kind is not None and getattr(kind, "dtype", None) not in ("string", "large_string"):
        raise ValueError(
            f"The column {column!r} of {source} holds {kind}, but strings are accepted: name the one with the texts "
            "(`text_column`)."
        )
    data = data.select_columns([column])
    return data if column == "text" else data.rename_column(column, "text")


def is_text_file_name(name: str) -> bool:
    """True for the name of a file that is surely one of texts."""
    return Path(name).suffix.lower() in (*_KINDS, *_COMPRESSED, ".arrow")


def check_text_file(path: Path) -> str:
    """Returns a digest of the file's content. Raises `ValueError` for a file without text, and for one not in UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read, found, digest = 0, False, hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            # a byte order mark is no text
            found |= bool(_decoded(decoder, chunk, read, path, final=False).replace("\ufeff", "").strip())
            read += len(chunk)
            digest.update(chunk)
    _decoded(decoder, b"", read, path, final=True)
    if not found:
        raise ValueError(f"The file {path} is empty: remove it, or write a text to it.")
    return digest.hexdigest()


def _decoded(decoder: codecs.IncrementalDecoder, chunk: bytes, read: int, path: Path, final: bool) -> str:
    pending = len(decoder.getstate()[0])  # bytes of a character begun in the last chunk
    try:
        return decoder.decode(chunk, final)
    except UnicodeDecodeError as error:
        offset = read - pending + error.start
        raise ValueError(
            f"The file {path} is not UTF-8: the byte {error.object[error.start]:#04x} at offset {offset} does not fit "
            f"({error.reason}). Convert it, for instance by `iconv -f latin1 -t utf8`."
        ) from error


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"There is no file or folder {path}.")
    inside = sorted(
        file
        for file in path.rglob("*")
        if file.suffix and file.is_file() and file.name.lower() not in _NO_TEXTS
        if not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    return [file for file in inside if file.suffix.lower() in _KINDS] or inside


def _kind(path: Path, files: list[Path]) -> str:
    """Returns the kind of all files; of one that is not read here, but perhaps by `datasets`, its ending."""
    if not files:
        raise FileNotFoundError(
            f"{path} is or holds no file that is accepted: give {', '.join(_KINDS)}, or another kind that the library "
            "`datasets` reads."
        )
    kinds = {_KINDS.get(file.suffix.lower()) or _ending(file) for file in files}
    if len(kinds) > 1:
        raise ValueError(
            f"The folder {path} holds files of several kinds ({', '.join(sorted(kinds))}): give a folder with one kind."
        )
    return kinds.pop()


def _ending(file: Path) -> str:
    """Returns the end of a file's name that tells its kind, such as `.arrow` or `.jsonl.gz`."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return "".join(suffixes[-2:] if suffixes and suffixes[-1] in _COMPRESSED else suffixes[-1:]) or "no ending"


def _split(file: Path, root: Path) -> str:
    """Returns the split named by a file's or its folder's name; a single file is training data."""
    if file == root:
        return "train"
    parts = file.relative_to(root).with_suffix("").parts
    words = [word for part in reversed(parts) for word in re.split(r"[^a-z]+", part.lower())]
    return next((_SPLITS[word] for word in words if word in _SPLITS), "train")
