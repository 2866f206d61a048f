"""A corpus of English that every machine with Python has: the documentation that the standard library carries."""

from __future__ import annotations

import ast
import functools
import hashlib
import pydoc_data.topics
import re
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import datasets

from .built_corpora import built_once

_VERSION = 1  # of the texts that are cached: another one for other texts of the same sources

# Folders whose docstrings describe tests, or which are not the standard library's own.
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "__pycache__"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_DIGITS = dict(enumerate(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]))
_SPELLED = str.maketrans({str(digit): f" {word} " for digit, word in _DIGITS.items()})
_FOREIGN = re.compile("[^a-z]+")


def text8_normalize(text: str) -> str:
    """The text in text8's 27 symbols: lower case, digits spelled out, anything else one space; none at its ends."""
    return _FOREIGN.sub(" ", text.lower().translate(_SPELLED)).strip()


def python_docs(normalize: bool = True, cache_dir: str | Path | None = None) -> datasets.DatasetDict:
    """The documentation texts and docstrings of the running Python's standard library; no network needed.

    They are gathered once, and memory-mapped from the cache from then on (see [`~built_corpora.built_once`]).

    Args:
        normalize: in text8's 27 symbols (see [`text8_normalize`]), or as they stand.
        cache_dir: where the texts are kept; `None`: where `datasets` keeps its own.

    Returns:
        `train`, `validation` and `test` with the column `text`, one documentation text each. How many there are depends
        on the release of Python: of 3.11 they are 1.60, 0.22 and 0.19 million characters in 27 symbols, and 1.74,
        0.23 and 0.21 million as written. A file's texts, or a topic, are in one split, which its name alone decides; a
        text that stands in several places is in its first.
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
    """Split and text of every distinct documentation text, in the order of names."""
    found: dict[str, str] = {}
    for name, text in _texts():
        found.setdefault(text, _split(name))
    return tuple((split, text) for text, split in found.items())


def _texts() -> Iterator[tuple[str, str]]:
    """Name of the source, and text: the language reference's topics, then docstrings file by file."""
    for topic, about in sorted(pydoc_data.topics.topics.items()):
        yield f"topic {topic}", about
    for name, path in _files():
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node)):
                yield name, text


def _files() -> Iterator[tuple[str, Path]]:
    """The files of the standard library that document it, in the order of their names."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if _LEFT_OUT.isdisjoint(name.parts):
            yield name.as_posix(), path


def _split(name: str) -> str:
    """80% of the names are for training, 10% each for validation and test."""
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % 10
    return {0: "validation", 1: "test"}.get(place, "train")
