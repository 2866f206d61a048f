"""Texts in local files: plain text, JSON lines or JSON, and parquet."""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from ladd_hf.data.json_files import check_json_file, json_texts, missing_column
from ladd_hf.data.parquet_files import check_parquet_file, find_damage

_KINDS = {
    ".txt": "text",
    ".text": "text",
    ".md": "text",
    ".json": "json",
    ".jsonl": "json",
    ".parquet": "parquet",
}
_SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
}
_SPLITS |= {"dev": "validation", "test": "test", "testing": "test"}
_SAMPLES = ("document", "paragraph", "line")
# What the Hub and `datasets` keep in a folder beside the data.
_NO_TEXTS = {"readme.md", "config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json"}
_CHUNK = 1 << 20
_VERSION = 1  # of the rows that are cached: another one for other rows of the same files


def load_text_files(
    path: Path, streaming: bool = False, text_column: str = "text", sample_by: str = "document", **options: Any
) -> dict[str, Any]:
    """The texts of a file, or of all files under a folder, by split, with one column `text`.

    A byte order mark is no part of a text, and the line ends of text files become "\\n".

    Args:
        path: a file, or a folder with files of one kind: text (`.txt`, `.text`, `.md`), JSON (`.json`, `.jsonl`) or
            `.parquet`. Files whose name, or whose folder's name, has a word such as "train", "valid", "dev" or "test"
            are of that split; all others are training data. A folder's `README.md`, and what else the Hub and
            `datasets` keep beside data, is left out. A stream has one shard per file.
        streaming: read the files while iterating.
        text_column: the field or column with the texts, of JSON and parquet.
        sample_by: what is a row of a text file: "document" (all of it), "paragraph" (up to an empty line) or "line",
            each with its line breaks.
        options: further ones of `datasets.load_dataset`.

    Raises:
        FileNotFoundError: no file, or none of these kinds.
        ValueError: files of several kinds, an empty one, one that is not UTF-8 (with the offset of the first bad byte)
            or broken, or no such column. A stream of JSON says so where it gets to the broken line.
    """
    if sample_by not in _SAMPLES:
        raise ValueError(f"`sample_by` is {sample_by!r}, but one of {', '.join(map(repr, _SAMPLES))} is accepted.")
    files = _files(path)
    kind = _kind(path, files)
    by_split: dict[str, list[str]] = {}
    for file in files:
        by_split.setdefault(_split(file, path), []).append(str(file))
    if kind == "json":
        return {name: _json(of_split, name, streaming, text_column, options) for name, of_split in by_split.items()}
    if kind == "parquet":
        return _parquet(files, by_split, streaming, text_column, options)
    for file in files:
        check_text_file(file)
    return dict(
        datasets.load_dataset(
            "text",
            data_files=by_split,
            streaming=streaming,
            sample_by=sample_by,
            keep_linebreaks=True,  # which are all "\n", for files are opened with universal newlines
            encoding="utf-8-sig",
            **options,
        )
    )


def _json(files: list[str], split: str, streaming: bool, column: str, options: dict[str, Any]) -> Any:
    """JSON is read row by row, by code that knows in which line it is."""
    for file in files:
        check_text_file(Path(file))
        check_json_file(file, column)
    features, name = datasets.Features({"text": datasets.Value("string")}), datasets.NamedSplit(split)
    given: dict[str, Any] = {"files": files, "column": column}
    if streaming:
        return datasets.IterableDataset.from_generator(json_texts, features, given, name)
    states = [Path(file).resolve().stat() for file in files]
    sources = [[file, state.st_size, state.st_mtime_ns] for file, state in zip(files, states, strict=True)]
    key = hashlib.sha256(json.dumps([_VERSION, split, column, sources]).encode()).hexdigest()[:32]
    try:
        return datasets.Dataset.from_generator(
            json_texts, features, gen_kwargs=given, split=name, fingerprint=key, **options
        )
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, ValueError):
            raise error.__cause__ from None
        raise


def _parquet(
    files: list[Path], by_split: dict[str, list[str]], streaming: bool, column: str, options: dict[str, Any]
) -> dict[str, Any]:
    for file in files:
        check_parquet_file(file, column)
    try:
        loaded = datasets.load_dataset("parquet", data_files=by_split, streaming=streaming, columns=[column], **options)
    except (datasets.exceptions.DatasetGenerationError, pa.ArrowInvalid) as error:
        damage = find_damage(files, column)
        if damage is None:
            raise
        raise damage from error
    return {name: only_text(data, column, str(files[0].parent)) for name, data in loaded.items()}


def only_text(data: Any, column: str, source: str) -> Any:
    """The data with the texts of `column` as its one column, `text`."""
    names = data.column_names
    if names is None:  # a stream that tells only by its first row
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
    """Whether a file that is called so would be read."""
    return Path(name).suffix.lower() in _KINDS


def check_text_file(path: Path) -> None:
    """Raises `ValueError` for a file without text, and for one that is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read, found = 0, False
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            # a byte order mark is no text
            found |= bool(_decoded(decoder, chunk, read, path, final=False).replace("\ufeff", "").strip())
            read += len(chunk)
    _decoded(decoder, b"", read, path, final=True)
    if not found:
        raise ValueError(f"The file {path} is empty: remove it, or write a text to it.")


def _decoded(decoder: codecs.IncrementalDecoder, chunk: bytes, read: int, path: Path, final: bool) -> str:
    pending = len(decoder.getstate()[0])  # bytes of a character that the last chunk began
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
    inside = (file for file in path.rglob("*") if file.is_file() and file.suffix.lower() in _KINDS)
    return sorted(
        file
        for file in inside
        if file.name.lower() not in _NO_TEXTS and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )


def _kind(path: Path, files: list[Path]) -> str:
    kinds = {_KINDS.get(file.suffix.lower()) for file in files}
    if not kinds or None in kinds:
        raise FileNotFoundError(f"{path} is or holds no file that is accepted: give {', '.join(_KINDS)}.")
    if len(kinds) > 1:
        raise ValueError(
            f"The folder {path} holds files of several kinds ({', '.join(sorted(map(str, kinds)))}): give a folder "
            "with one kind."
        )
    return str(kinds.pop())


def _split(file: Path, root: Path) -> str:
    parts = file.relative_to(root).with_suffix("").parts if root.is_dir() else (file.stem,)
    words = [word for part in reversed(parts) for word in re.split(r"[^a-z]+", part.lower())]
    return next((_SPLITS[word] for word in words if word in _SPLITS), "train")
