"""A corpus of English available wherever Python is: the documentation in the standard library."""

from __future__ import annotations

import ast
import functools
import hashlib
import logging
import pydoc_data.topics
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import datasets

from .built_corpora import built_once
from .docstrings import parsed

logger = logging.getLogger(__name__)

_VERSION = 1  # of the cached texts: change it whenever the same sources give other texts

# Folders with docstrings about tests, or outside of the standard library itself.
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "__pycache__"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_DIGITS = dict(enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]))
_SPELLED = str.maketrans({str(digit): f" {word} " for digit, word in _DIGITS.items()})
_FOREIGN = re.compile("[^a-z]+")


def text8_normalize(text: str) -> str:
    """Normalises text to text8's 27 symbols: lower case, digits spelled out, all else one space; none at the ends."""
    return _FOREIGN.sub(" ", text.lower().translate(_SPELLED)).strip()


def python_docs(normalize: bool = True, cache_dir: str | Path | None = None) -> datasets.DatasetDict:
    """Returns the documentation texts and docstrings of the running Python's standard library; no network needed.

    They are gathered once, then memory-mapped from the cache (see [`~built_corpora.built_once`]).

    Args:
        normalize: use text8's 27 symbols (see [`text8_normalize`]), or keep the texts as written.
        cache_dir: where the texts are kept; `None`: the cache of `datasets`.

    Returns:
        `train`, `validation` and `test` with the column `text`, one documentation text each. Their number depends on
        the release of Python: with 3.11 they have 1.60, 0.22 and 0.19 million characters in 27 symbols, and 1.74, 0.23
        and 0.21 million as written. All texts of a file, or of a topic, are in one split, determined by its name; a
        text that occurs in several places is in the first one's split. Files that are not Python of the running version
        are left out, and a warning names them and their number.
    """
    sources = [(name, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in _files()]
    key = [_VERSION, normalize, sys.version, sources]
    return built_once("python-docs", key, lambda: _splits(normalize), cache_dir)


def _splits(normalize: bool) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for split, text in _documents():
        if written := text8_normalize(text) if normalize else text:
            splits[split].append(written)
    return splits


@functools.cache
def _documents() -> tuple[tuple[str, str], ...]:
    """Returns split and text of every distinct documentation text, in the order of names."""
    found: dict[str, str] = {}
    for name, text in _texts():
        found.setdefault(text, _split(name))
    return tuple((split, text) for text, split in found.items())


def _texts() -> Iterator[tuple[str, str]]:
    """Yields the source's name and the text: the language reference's topics, then docstrings file by file; warns of
    files that do not parse."""
    for topic, about in sorted(pydoc_data.topics.topics.items()):
        yield f"topic {topic}", about
    broken: list[str] = []
    for name, path in _files():
        try:
            module = parsed(path.read_bytes())
        except (SyntaxError, ValueError) as error:
            broken.append(f"{name} ({type(error).__name__})")
            continue
        for node in ast.walk(module):
            if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node)):
                yield name, text
    if broken:
        logger.warning(
            "Files left out of python-docs, which are not Python of the running version: %s (%s).",
            f"{len(broken):,}",
            ", ".join(broken),
        )


def _files() -> Iterator[tuple[str, Path]]:
    """Yields the files of the standard library that document it, in the order of their names."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if _LEFT_OUT.isdisjoint(name.parts):
            yield name.as_posix(), path


def _split(name: str) -> str:
    """Assigns 80% of the names to training, 10% each to validation and test."""
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 10
    return {0: "validation", 1: "test"}.get(place, "train")
