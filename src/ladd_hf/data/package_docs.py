"""A corpus of technical English of tens of millions of characters without a download: the documentation in packages
that ladd_hf is installed with."""

from __future__ import annotations

import functools
import hashlib
import logging
import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import datasets

from .built_corpora import built_once
from .distributions import Distribution, installed
from .docstrings import docstrings, without_code
from .python_docs import text8_normalize

logger = logging.getLogger(__name__)

_VERSION = 1  # of the cached texts: change it whenever the same sources give other texts

# Distributions by split: none is in two of them. Those held out are required, not optional, and by other authors than
# the rest, with words of their own: graphs, and tables of data.
PACKAGES: Mapping[str, tuple[str, ...]] = {
    "train": (
        *("accelerate", "alembic", "attrs", "click", "datasets", "diffusers", "dill", "evaluate", "filelock"),
        *("fonttools", "fsspec", "huggingface_hub", "hypothesis", "Jinja2", "matplotlib", "mpmath", "mypy", "numpy"),
        *("optuna", "packaging", "peft", "pillow", "psutil", "pyarrow", "pydantic", "Pygments", "pyparsing", "pytest"),
        *("python-dateutil", "requests", "rich", "scipy", "setuptools", "SQLAlchemy", "sympy", "torch", "torchao"),
        *("tqdm", "transformers", "typing_extensions", "urllib3"),
    ),
    "validation": ("networkx",),
    "test": ("pandas",),
}
_FILES_AT_ONCE = 64  # that a worker reads for one answer


def package_docs(
    normalize: bool = True, cache_dir: str | Path | None = None, num_proc: int | None = None
) -> datasets.DatasetDict:
    """Returns the documentation of installed packages: docstrings, texts beside the code, and descriptions.

    Sources are parsed, never imported, and nothing is downloaded. The texts are gathered once for the versions that are
    installed, then memory-mapped from the cache (see [`~built_corpora.built_once`]); another version of any package is
    another corpus. `info.description` of each split states packages and versions.

    * A text is a docstring, a `.md` or `.rst` file, or the long description of a distribution. Blocks of code in it are
      left out (see [`~docstrings.without_code`]), and so are folders of tests and vendored copies.
    * A text occurs once: of those that are the same in 27 symbols the first is kept, the held-out splits' before the
      training split's.
    * All texts of a package are in one split: see [`PACKAGES`], a part of what `constraints.txt` pins. Packages that
      are not installed are left out, and so are files that are not Python of the running version, with a warning.

    Args:
        normalize: use text8's 27 symbols, or keep the texts as written.
        cache_dir: where the texts are kept; `None`: the cache of `datasets`.
        num_proc: processes that parse the sources.

    Returns:
        `train`, `validation` and `test` with the column `text`.

    Raises `ValueError` if none of a split's packages is installed.
    """
    found = {split: [one for name in names if (one := installed(name))] for split, names in PACKAGES.items()}
    if empty := [split for split, distributions in found.items() if not distributions]:
        names = ", ".join(PACKAGES[empty[0]])
        raise ValueError(
            f"The split {empty[0]!r} of package-docs is the documentation of {names}, none of which is installed: "
            "install ladd_hf with its dependencies (`pip install -c constraints.txt -e .`)."
        )
    sources = {split: [[one.name, one.version, one.digest] for one in some] for split, some in found.items()}
    key = [_VERSION, normalize, sources]
    build = functools.partial(_texts_by_split, found, normalize, num_proc)
    return built_once("package-docs", key, build, cache_dir, description=_described(found, normalize))


def _described(found: Mapping[str, list[Distribution]], normalize: bool) -> str:
    """Describes the corpus: packages and exact versions by split, and those that are not installed."""
    there = {one.name for distributions in found.values() for one in distributions}
    missing = [name for names in PACKAGES.values() for name in names if name not in there]
    lines = ["Documentation of installed Python packages, without code" + (", in 27 symbols." if normalize else ".")]
    lines += [f"{split}: {', '.join(f'{one.name} {one.version}' for one in some)}" for split, some in found.items()]
    return "\n".join([*lines, *([f"not installed: {', '.join(missing)}"] if missing else [])])


def _texts_by_split(
    found: Mapping[str, list[Distribution]], normalize: bool, num_proc: int | None
) -> dict[str, Iterable[str]]:
    """Returns the texts of each split: of the held-out ones as lists, since theirs come first, of `train` as they
    come."""
    seen: set[bytes] = set()

    def distinct(split: str) -> Iterator[str]:
        with _workers(num_proc) as apply:
            for text in _texts(found[split], apply):
                symbols = text8_normalize(text)
                digest = hashlib.blake2b(symbols.encode(), digest_size=16).digest()
                if symbols and digest not in seen:
                    seen.add(digest)
                    yield symbols if normalize else text

    held_out = {split: list(distinct(split)) for split in found if split != "train"}
    return {"train": distinct("train"), **held_out}


def _texts(distributions: Iterable[Distribution], apply: Callable[..., Iterable[Any]]) -> Iterator[str]:
    """Yields the texts of distributions in order: the description, then file by file; warns of unreadable files, and
    of their numbers."""
    parts = [
        (one, one.files[first : first + _FILES_AT_ONCE])
        for one in distributions
        for first in range(0, len(one.files), _FILES_AT_ONCE)
    ]
    described: set[str] = set()
    left_out = Counter[str]()
    for (one, _), (texts, unreadable) in zip(parts, apply(_texts_of_files, parts), strict=True):
        if one.name not in described:
            described.add(one.name)
            yield without_code(one.description)
        for file, reason in unreadable:
            logger.warning("%s of %s %s is left out of package-docs: %s.", file, one.name, one.version, reason)
            left_out[one.name] += 1
        yield from texts
    if total := left_out.total():
        by_package = ", ".join(f"{name} {number:,}" for name, number in left_out.items())
        logger.warning("Files left out of package-docs: %s (%s).", f"{total:,}", by_package)


def _texts_of_files(part: tuple[Distribution, tuple[PurePosixPath, ...]]) -> tuple[list[str], list[tuple[str, str]]]:
    """Returns the texts of a few files, and the files without, with the reason."""
    distribution, files = part
    texts: list[str] = []
    unreadable: list[tuple[str, str]] = []
    for file in files:
        try:
            source = distribution.read(file)
            written = docstrings(source) if file.suffix == ".py" else [source.decode()]
        except (OSError, SyntaxError, ValueError) as error:  # also of a text that is not UTF-8
            unreadable.append((file.as_posix(), f"{type(error).__name__}, {error}"))
            continue
        texts += [prose for text in written if (prose := without_code(text))]
    return texts, unreadable


@contextmanager
def _workers(num_proc: int | None) -> Iterator[Callable[..., Iterable[Any]]]:
    """Context with a `map` that keeps the order, over several processes if asked."""
    if not num_proc or num_proc == 1:
        yield map
        return
    with multiprocessing.Pool(num_proc) as pool:
        yield pool.imap
