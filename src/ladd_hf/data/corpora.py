"""[`load_corpus`]: the paper's corpora by name, or your own texts, as data sets with one column `text`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import datasets

from ..utils.registry import Registry
from ..utils.wrong_objects import described
from .cleaning import clean_lambada, clean_lm1b, clean_ptb, clean_scientific_papers, clean_wikitext
from .held_out import SHARE, check_share
from .hub_corpora import CONFIG, HeldOutCorpus, HubCorpus
from .package_docs import package_docs
from .python_docs import python_docs
from .saved_datasets import is_saved_dataset, load_saved_dataset, refuse_several
from .text8 import Text8
from .text_files import is_text_file_name, load_text_files


class Corpus(Protocol):
    """A corpus with a name."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of its splits."""
        ...

    def load(self, split: str, streaming: bool, num_proc: int | None = None, **hub_options: Any) -> Any:
        """Returns one split, as a `Dataset` or an `IterableDataset` with the column `text`.

        `num_proc`: processes that clean the texts of a `Dataset`. `hub_options`: `cache_dir`, `revision` and `token`,
        if given.
        """
        ...


@dataclass(frozen=True)
class PythonDocs:
    """The documentation of the running Python's standard library; see [`python_docs`].

    Args:
        normalize: convert to text8's 27 symbols.
        remarks: size and licence.
    """

    normalize: bool = True
    remarks: str = (
        "Language reference and docstrings of the running Python, in 27 symbols: with Python 3.11 1.60, 0.22 and 0.19 "
        "million characters. PSF licence."
    )

    splits = ("train", "validation", "test")

    def load(self, split: str, streaming: bool, num_proc: int | None = None, **hub_options: Any) -> Any:
        """See [`Corpus.load`]."""
        data = python_docs(self.normalize, hub_options.get("cache_dir"))[split]
        return data.to_iterable_dataset() if streaming else data


@dataclass(frozen=True)
class PackageDocs:
    """The documentation of packages that ladd_hf is installed with; see [`package_docs`].

    Args:
        normalize: convert to text8's 27 symbols.
        remarks: size and licence.
    """

    normalize: bool = True
    remarks: str = (
        "Docstrings and descriptions of up to 43 packages that ladd_hf is installed with, in 27 symbols: with the "
        "versions of constraints.txt 29.6, 1.5 and 2.1 million characters. Validation is networkx, test is pandas. "
        "Read from the installation and not redistributed; each package has its own licence."
    )

    splits = ("train", "validation", "test")

    def load(self, split: str, streaming: bool, num_proc: int | None = None, **hub_options: Any) -> Any:
        """See [`Corpus.load`]."""
        data = package_docs(self.normalize, hub_options.get("cache_dir"), num_proc)[split]
        return data.to_iterable_dataset() if streaming else data


_TEXT8_FILES = ("text8", "text8.txt", "text8.zip")  # names of the original, zipped or not
_ALL = {"train": "train", "validation": "validation", "test": "test"}
_TRAIN_TEST = {"train": "train", "test": "test"}

_INCLUDED: dict[str, Corpus] = {
    "python-docs": PythonDocs(),
    "python-docs-text": PythonDocs(
        normalize=False,
        remarks="The same as it stands: with Python 3.11 1.74, 0.23 and 0.21 million characters. PSF licence.",
    ),
    "package-docs": PackageDocs(),
    "package-docs-text": PackageDocs(
        normalize=False,
        remarks="The same as written: with the versions of constraints.txt 32.9, 1.6 and 2.3 million characters.",
    ),
    "text8": Text8(),
    "lm1b": HubCorpus(
        "dvruette/lm1b",
        _TRAIN_TEST,
        clean=clean_lm1b,
        remarks="One Billion Words: 30,301,028 shuffled sentences of news, and 306,688 to test (and validate) on.",
    ),
    "openwebtext": HeldOutCorpus(
        "Skylion007/openwebtext",
        config="plain_text",
        # the commit with the texts in 80 files, each of 100,173 or 100,172 documents
        revision="79d93d786212f7344586290adb811d4ae6a1762c",
        data_files={
            "train": ["plain_text/train-000[0-6]?-of-00080.parquet", "plain_text/train-0007[0-8]-of-00080.parquet"],
            "validation": "plain_text/train-00079-of-00080.parquet",
        },
        last_file=100_172,
        held_out=100_000,
        remarks="8,013,769 web pages, 40 GB: 7,913,597 to train on, the last 100,000 for validation (the 172 between "
        "them are in neither). The packaging is CC0, texts are not.",
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
        remarks="Good and featured articles of Wikipedia: 1,801,350, 3,760 and 4,358 lines (a paragraph, a heading or "
        "nothing), 103 million words. CC BY-SA.",
    ),
    "lambada": HubCorpus(
        "EleutherAI/lambada_openai",
        {"test": "test"},
        config="default",
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
        remarks="Bodies of 119,924, 6,633 and 6,658 articles from the data of arXiv 1804.05685, without abstracts.",
    ),
    "arxiv": HubCorpus(
        "ccdv/arxiv-summarization",
        _ALL,
        config="document",
        text_column="article",
        clean=clean_scientific_papers,
        remarks="Bodies of 203,037, 6,436 and 6,440 articles from the data of arXiv 1804.05685, without abstracts.",
    ),
}
CORPORA: Registry[Corpus] = Registry("corpus", _INCLUDED)
register_corpus = CORPORA.register  # a name for a corpus, by which `load_corpus` finds it


def known_corpora() -> dict[str, Corpus]:
    """Returns the registered corpora by name."""
    return dict(CORPORA.items())


def is_own_file(name_or_path: str | Path) -> bool:
    """True if it is a single file, which is read as training data with a held-out share unless a split is named."""
    path = Path(name_or_path).expanduser()
    return str(name_or_path) not in CORPORA and path.is_file() and path.name not in _TEXT8_FILES


def load_corpus(
    name_or_path: str | Path,
    split: str | None = None,
    streaming: bool = False,
    *,
    config: str | None = None,
    text_column: str = "text",
    sample_by: str = "document",
    held_out: float = SHARE,
    num_proc: int | None = None,
    cache_dir: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> Any:
    """Loads texts for training and evaluation, one document per row, in the one column `text`.

    The named corpora are downloaded from the Hub, and cleaned and split as in papers on zero-shot perplexity
    (`ladd_hf.data.cleaning`). Their names and columns on the Hub are taken from public code that reads them; the tests
    run without a network and only check the requests.

    Args:
        name_or_path: a name (see [`known_corpora`]), a local file or folder (see [`~text_files.load_text_files`]), a
            folder of `save_to_disk`, the original `text8.zip`, or a data set of the Hub ("user/name"). Write "./name"
            for a folder that has the name of a corpus.
        split: "train", "validation" or "test", if the corpus has it; `None` for all.
        streaming: return an `IterableDataset`, which downloads and reads during iteration.
        config: the configuration of a data set of the Hub without a name here, if it has several.
        text_column: the column with the texts; for a named corpus of the Hub one that is read in place of its own,
            such as "abstract" of `pubmed`, and cleaned alike.
        sample_by: a row of a local text file: "document", "paragraph" or "line".
        held_out: the share of local files that becomes the split "validation" if they are training data only, so that
            one file is enough to train on: of many files every n-th, of many rows the last ones, of fewer the end of
            their text. The same streamed or not. 0 keeps all of it for training.
        num_proc: processes that clean a corpus of the Hub, unless it is streamed.
        cache_dir, revision, token: as in `datasets.load_dataset`.

    Returns:
        A `Dataset` or an `IterableDataset`, or a dict of them by split.

    Raises:
        ValueError: an unknown name, split, configuration or column, local files that cannot be read as text, or a data
            set of the Hub that is a script.
        FileNotFoundError: no such file, or no such data set on the Hub.
        ConnectionError: no network, and the data set of the Hub is not in the cache.
    """
    given = {"cache_dir": cache_dir, "revision": revision, "token": token}
    options = {name: value for name, value in given.items() if value is not None}
    if not isinstance(name_or_path, str | os.PathLike):
        raise ValueError(
            f"`name_or_path` is a {type(name_or_path).__name__}, but the name of a corpus or one path is accepted: put "
            "several files into a folder, and give that."
        )
    check_share(held_out)
    if config is not None and (not isinstance(config, str) or not config):
        raise ValueError(f"{CONFIG} is {described(config)}; give the name of a configuration, or leave it out.")
    name, path = os.fspath(name_or_path), Path(name_or_path).expanduser()
    if config is not None and (name in CORPORA or path.exists()):
        raise ValueError(
            f"{CONFIG} is {config!r}, but only data sets of the Hub without a name here have configurations to choose, "
            f"and {name!r} is a {'corpus with its own' if name in CORPORA else 'path'}: leave it out."
        )
    if name not in CORPORA and path.exists() and not (path.is_file() and path.name in _TEXT8_FILES):
        if is_saved_dataset(path):
            return _of(load_saved_dataset(path, streaming, text_column, held_out), split, name, streaming)
        refuse_several(path)
        texts = load_text_files(path, streaming, text_column, sample_by, held_out, cache_dir)
        return _of(texts, split, name, streaming)
    check_corpus(name_or_path)
    corpus = _corpus(name, path, text_column, config)
    if isinstance(corpus, HubCorpus) and not corpus.splits:
        return _of(corpus.load_all(streaming, num_proc, **options), split, name, streaming)
    names = corpus.splits if split is None else (_checked(split, corpus.splits, name),)
    return _of({key: corpus.load(key, streaming, num_proc, **options) for key in names}, split, name, streaming)


def check_corpus(name_or_path: str | Path) -> None:
    """Checks that [`load_corpus`] has something to load, which may be a data set of the Hub; nothing is read.

    Raises `FileNotFoundError` for a path that there is not, and `ValueError` for a name that is not known.
    """
    name = str(name_or_path)
    if name in CORPORA or Path(name_or_path).expanduser().exists():
        return
    if isinstance(name_or_path, Path) or _is_path(name):
        raise FileNotFoundError(f"There is no file or folder {name!r} (seen from {Path.cwd()}): give one that exists.")
    if name.count("/") != 1:
        raise ValueError(
            f"There is no corpus, file or folder {name!r}: known corpora are {', '.join(map(repr, CORPORA))}; "
            "give one of them, an existing path, or a data set of the Hub as 'user/name'."
        )


def separator_of(name_or_path: str | Path) -> str:
    """Returns the separator between the texts of a corpus, named as in [`load_corpus`], without special tokens.

    A space, or the corpus's attribute `separator`: empty if its rows are pieces of one text.
    """
    name, path = str(name_or_path), Path(name_or_path).expanduser()
    if name not in CORPORA and path.is_file() and path.name in _TEXT8_FILES:
        return Text8.separator
    return getattr(CORPORA[name], "separator", " ") if name in CORPORA else " "


def _is_path(name: str) -> bool:
    """True if this can only be a path, not a name or a data set of the Hub."""
    ends = name.endswith(("/", os.sep)) or is_text_file_name(name) or Path(name).name in _TEXT8_FILES[1:]
    return ends or name.startswith((".", "/", "~", os.sep)) or name.count("/") > 1


def _corpus(name: str, path: Path, text_column: str, config: str | None) -> Corpus:
    if name in CORPORA:
        return _with_column(name, CORPORA[name], text_column)
    if path.is_file():
        return _with_column(name, Text8(path=path), text_column)
    return HubCorpus(name, {}, config, text_column)


def _with_column(name: str, corpus: Corpus, text_column: str) -> Corpus:
    """Returns the corpus, which reads another column than its own if that is not called `text`, as all texts are."""
    if text_column == "text":
        return corpus
    if isinstance(corpus, HubCorpus):
        return replace(corpus, text_column=text_column)
    raise ValueError(
        f"`text_column` is {text_column!r}, but the corpus {name!r} has texts and no other column: leave it out."
    )


def _of(by_split: dict[str, Any], split: str | None, name: str, streaming: bool) -> Any:
    if split is not None:
        return by_split[_checked(split, tuple(by_split), name)]
    return (datasets.IterableDatasetDict if streaming else datasets.DatasetDict)(by_split)


def _checked(split: str, known: tuple[str, ...], name: str) -> str:
    if split not in known:
        splits = f"{name!r} has no split {split!r}, but {', '.join(map(repr, known))}"
        path = Path(name).expanduser()
        alone = name not in CORPORA and path.is_file() and path.name not in _TEXT8_FILES
        raise ValueError(
            f"{splits}: a file by itself is training data, so put it into a folder, under a name such as "
            "'train.txt', 'validation.txt' or 'test.txt' for its split, and give that."
            if alone
            else f"{splits}."
        )
    return split
