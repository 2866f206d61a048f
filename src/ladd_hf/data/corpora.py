"""[`load_corpus`]: the corpora of the paper by name, or texts of one's own, as data sets with one column `text`."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import datasets
import numpy as np

from ladd_hf.data.cleaning import clean_lambada, clean_lm1b, clean_ptb, clean_scientific_papers, clean_wikitext
from ladd_hf.data.python_docs import python_docs
from ladd_hf.data.text_files import load_text_files, only_text

_OFFLINE = "the corpus 'python-docs' needs no network, and a local file or folder of texts can be given by its path"


class Corpus(Protocol):
    """A corpus that is found by name."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of its splits."""
        ...

    def load(self, split: str, streaming: bool, **hub_options: Any) -> Any:
        """One split, as a `Dataset` or an `IterableDataset` with the column `text`.

        `hub_options`: `cache_dir`, `revision`, `token`, as far as they are given.
        """
        ...


@dataclass(frozen=True)
class HubCorpus:
    """A data set of the Hub.

    Args:
        hub_id: its repository.
        split_names: the splits, by our names; on the right what the Hub calls them.
        config: its configuration.
        text_column: the column with the texts.
        clean: what is done to each text.
        revision: the revision with parquet files, where the main one is a script, which `datasets` no longer runs.
        data_files: the files of each of the Hub's splits, where they have to be told.
        remarks: size and licence.
    """

    hub_id: str
    split_names: Mapping[str, str]
    config: str | None = None
    text_column: str = "text"
    clean: Callable[[str], str] | None = None
    revision: str | None = None
    data_files: Mapping[str, str] | None = None
    remarks: str = ""

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of its splits."""
        return tuple(self.split_names)

    def load(self, split: str, streaming: bool, **hub_options: Any) -> Any:
        """See [`Corpus.load`]. Raises `ConnectionError` without a network, `FileNotFoundError` without the data set."""
        data = self._from_hub(self.split_names[split], streaming, hub_options)
        return _cleaned(only_text(data, self.text_column, self.hub_id), self.clean)

    def _from_hub(self, hub_split: str | None, streaming: bool, hub_options: dict[str, Any]) -> Any:
        files = {} if self.data_files is None else {"data_files": dict(self.data_files)}
        options = {"revision": self.revision, **files, **hub_options}
        try:
            return datasets.load_dataset(self.hub_id, self.config, split=hub_split, streaming=streaming, **options)
        except datasets.exceptions.DatasetNotFoundError as error:
            raise FileNotFoundError(
                f"The Hub shows no data set {self.hub_id!r} (or not to you: log in, or give a `token`); {_OFFLINE}."
            ) from error
        except ConnectionError as error:
            raise ConnectionError(
                f"The data set {self.hub_id!r} is not in the cache, and the Hub can not be reached; {_OFFLINE}."
            ) from error


@dataclass(frozen=True)
class HeldOutCorpus(HubCorpus):
    """A data set with a training split alone, whose last documents are held out for validation.

    Args:
        held_out: how many.
    """

    split_names: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "validation": "train"})
    held_out: int = 100_000

    def load(self, split: str, streaming: bool, **hub_options: Any) -> Any:
        """See [`Corpus.load`]. Streamed, it is one shard: which documents are held out must not hang on who reads."""
        if not streaming:
            kept = {"train": f"train[:-{self.held_out}]", "validation": f"train[-{self.held_out}:]"}[split]
            data = self._from_hub(kept, False, hub_options)
            return _cleaned(only_text(data, self.text_column, self.hub_id), self.clean)
        stream = self._from_hub("train", True, hub_options)
        if not stream.info.splits:
            raise ValueError(
                f"{self.hub_id} does not say how many documents it has, so the last {self.held_out} can not be held "
                "out of a stream: load it with `streaming=False`."
            )
        border = stream.info.splits["train"].num_examples - self.held_out
        texts = only_text(stream, self.text_column, self.hub_id)
        limits = {"first": 0, "last": border} if split == "train" else {"first": border, "last": None}
        features = datasets.Features({"text": datasets.Value("string")})
        rows = datasets.IterableDataset.from_generator(_rows, features, gen_kwargs={"stream": texts, **limits})
        return _cleaned(rows, self.clean)


@dataclass(frozen=True)
class Text8:
    """text8: the first 10^8 characters of a Wikipedia dump in 27 symbols, a to z and space.

    Its rows are pieces of one text, in order: join them without a separator (`special_tokens=False`).

    Args:
        hub_id: where it is.
        sizes: characters of training, validation and test split, in this order through the text.
        path: a local `text8` or `text8.zip` instead.
    """

    hub_id: str = "afmck/text8"
    sizes: tuple[int, int, int] = (90_000_000, 5_000_000, 5_000_000)
    path: Path | None = None

    splits = ("train", "validation", "test")
    _piece = 100_000  # characters of a row

    def load(self, split: str, streaming: bool, **hub_options: Any) -> Any:
        """See [`Corpus.load`]. Raises `ValueError` for a text of another length or with other characters."""
        text = self._whole(hub_options)
        start = sum(self.sizes[: self.splits.index(split)])
        text = text[start : start + self.sizes[self.splits.index(split)]]
        pieces = [text[place : place + self._piece] for place in range(0, len(text), self._piece)]
        data = datasets.Dataset.from_dict({"text": pieces})
        return data.to_iterable_dataset() if streaming else data

    def _whole(self, hub_options: dict[str, Any]) -> str:
        if self.path is None:
            by_split = HubCorpus(self.hub_id, {})._from_hub(None, False, hub_options)
            parts = ["".join(by_split[name]["text"]) for name in self.splits if name in by_split]
            # either the text is all in one split, or it is cut already
            text = parts[0] if len(parts[0]) == sum(self.sizes) else "".join(parts)
        elif self.path.suffix == ".zip":
            with zipfile.ZipFile(self.path) as archive:
                text = archive.read("text8").decode("latin-1")
        else:
            text = self.path.read_bytes().decode("latin-1")
        self._check(text)
        return text

    def _check(self, text: str) -> None:
        counts = np.bincount(np.frombuffer(text.encode(), np.uint8), minlength=256)
        foreign = sorted(chr(byte) for byte in np.flatnonzero(counts) if chr(byte) not in "abcdefghijklmnopqrstuvwxyz ")
        if len(text) != sum(self.sizes) or foreign:
            other = f"{', '.join(map(repr, foreign[:5]))} among them" if foreign else "of its 27 symbols"
            raise ValueError(
                f"{self.path or self.hub_id} has {len(text):,} characters, {other}, but text8 has "
                f"{sum(self.sizes):,} of a to z and space: give the path of the original `text8.zip`."
            )


@dataclass(frozen=True)
class PythonDocs:
    """The documentation of the running Python's standard library; see [`python_docs`].

    Args:
        normalize: in text8's 27 symbols.
    """

    normalize: bool = True

    splits = ("train", "validation", "test")

    def load(self, split: str, streaming: bool, **hub_options: Any) -> Any:
        """See [`Corpus.load`]."""
        data = python_docs(self.normalize)[split]
        return data.to_iterable_dataset() if streaming else data


_ALL = {"train": "train", "validation": "validation", "test": "test"}
_TRAIN_TEST = {"train": "train", "test": "test"}

_CORPORA: dict[str, Corpus] = {
    "python-docs": PythonDocs(),
    "python-docs-text": PythonDocs(normalize=False),
    "text8": Text8(),
    "lm1b": HubCorpus(
        "dvruette/lm1b",
        _TRAIN_TEST,
        clean=clean_lm1b,
        remarks="One Billion Words: 30,301,028 shuffled sentences of news, and 306,688 to test (and validate) on.",
    ),
    "openwebtext": HeldOutCorpus(
        "Skylion007/openwebtext",
        remarks="8,013,769 web pages, 40 GB; the last 100,000 are for validation. The packaging is CC0, texts are not.",
    ),
    "ptb": HubCorpus(
        "ptb-text-only/ptb_text_only",
        _ALL,
        text_column="sentence",
        clean=clean_ptb,
        revision="refs/convert/parquet",
        data_files={name: f"penn_treebank/{name}/*.parquet" for name in _ALL},
        remarks="Penn Treebank: 42,068, 3,370 and 3,761 sentences of the Wall Street Journal. Licensed by the LDC.",
    ),
    "wikitext103": HubCorpus(
        "Salesforce/wikitext",
        _ALL,
        config="wikitext-103-raw-v1",
        clean=clean_wikitext,
        remarks="Good and featured articles of Wikipedia, a paragraph per row, 103 million words. CC BY-SA.",
    ),
    "lambada": HubCorpus(
        "EleutherAI/lambada_openai",
        {"test": "test"},
        clean=clean_lambada,
        remarks="5,153 passages of novels, as GPT-2 was evaluated on them.",
    ),
    "ag_news": HubCorpus(
        "fancyzhx/ag_news",
        _TRAIN_TEST,
        remarks="120,000 and 7,600 news items, for non-commercial use.",
    ),
    "pubmed": HubCorpus(
        "ccdv/pubmed-summarization",
        _ALL,
        config="document",
        text_column="article",
        clean=clean_scientific_papers,
        remarks="Bodies of articles from the data of arXiv 1804.05685, without their abstracts.",
    ),
    "arxiv": HubCorpus(
        "ccdv/arxiv-summarization",
        _ALL,
        config="document",
        text_column="article",
        clean=clean_scientific_papers,
        remarks="Bodies of articles from the data of arXiv 1804.05685, without their abstracts.",
    ),
}


def known_corpora() -> dict[str, Corpus]:
    """The corpora that have a name."""
    return dict(_CORPORA)


def register_corpus(name: str, corpus: Corpus) -> None:
    """Gives a corpus a name. Raises `ValueError` for one that is taken."""
    if name in _CORPORA:
        raise ValueError(f"There is a corpus named {name!r} already: choose another name.")
    _CORPORA[name] = corpus


def load_corpus(
    name_or_path: str | Path,
    split: str | None = None,
    streaming: bool = False,
    *,
    text_column: str = "text",
    sample_by: str = "document",
    cache_dir: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> Any:
    """Texts to train and evaluate on, one document per row, in the one column `text`.

    The named corpora are cleaned as papers on zero-shot perplexity clean them (`ladd_hf.data.cleaning`), and split as
    they are there. They come from the Hub. Their names and columns there are taken from public code that reads them;
    the tests, which run without a network, only check what is asked of the Hub.

    Args:
        name_or_path: a name ([`known_corpora`] has them all), a local file or folder (see
            [`~text_files.load_text_files`]), the original `text8.zip`, or a data set of the Hub ("user/name"). A folder
            that is called like a corpus is given as "./name".
        split: "train", "validation" or "test", as far as there are; `None` for all.
        streaming: an `IterableDataset`, which downloads and reads while it is iterated over.
        text_column: the column with the texts; for local files and data sets of the Hub without a name here.
        sample_by: what is a row of a local text file: "document", "paragraph" or "line".
        cache_dir, revision, token: as `datasets.load_dataset` has them.

    Returns:
        A `Dataset` or an `IterableDataset`, or a dict of them by split.

    Raises:
        ValueError: a name or a split that there is not, or local files that can not be read as text.
        FileNotFoundError: no such file, or no such data set on the Hub.
        ConnectionError: a data set of the Hub that is not in the cache, without a network.
    """
    given = {"cache_dir": cache_dir, "revision": revision, "token": token}
    options = {name: value for name, value in given.items() if value is not None}
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name not in _CORPORA and path.exists() and not (path.is_file() and path.stem == "text8"):
        kept = {} if cache_dir is None else {"cache_dir": cache_dir}
        return _of(load_text_files(path, streaming, text_column, sample_by, **kept), split, name, streaming)
    corpus = _corpus(name, path, text_column)
    if isinstance(corpus, HubCorpus) and not corpus.split_names:
        loaded = {
            key: only_text(data, text_column, name) for key, data in corpus._from_hub(None, streaming, options).items()
        }
        return _of(loaded, split, name, streaming)
    names = corpus.splits if split is None else (_checked(split, corpus.splits, name),)
    return _of({key: corpus.load(key, streaming, **options) for key in names}, split, name, streaming)


def _corpus(name: str, path: Path, text_column: str) -> Corpus:
    if name in _CORPORA:
        return _CORPORA[name]
    if path.is_file():
        return Text8(path=path)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return HubCorpus(name, {}, text_column=text_column)
    raise ValueError(
        f"There is no corpus, file or folder {name!r}: known corpora are {', '.join(map(repr, sorted(_CORPORA)))}; "
        "give one of them, an existing path, or a data set of the Hub as 'user/name'."
    )


def _of(by_split: dict[str, Any], split: str | None, name: str, streaming: bool) -> Any:
    if split is not None:
        return by_split[_checked(split, tuple(by_split), name)]
    return (datasets.IterableDatasetDict if streaming else datasets.DatasetDict)(by_split)


def _checked(split: str, known: tuple[str, ...], name: str) -> str:
    if split not in known:
        raise ValueError(f"{name!r} has no split {split!r}, but {', '.join(map(repr, known))}.")
    return split


def _cleaned(data: Any, clean: Callable[[str], str] | None) -> Any:
    if clean is None:
        return data
    # a stream row by row, so that it can be resumed at any row
    return data.map(_CleanTexts(clean), batched=isinstance(data, datasets.Dataset))


class _CleanTexts:
    def __init__(self, clean: Callable[[str], str]) -> None:
        self.clean = clean

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        texts = rows["text"]
        return {"text": self.clean(texts) if isinstance(texts, str) else [self.clean(text) for text in texts]}


def _rows(stream: Any, first: int, last: int | None) -> Iterator[dict[str, Any]]:
    yield from itertools.islice(stream.skip(first) if first else stream, None if last is None else last - first)
