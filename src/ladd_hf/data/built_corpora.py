"""Corpora that are built rather than downloaded: built once into the cache of `datasets`, then memory-mapped."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from datasets.arrow_writer import ArrowWriter

from .batching import batched_texts

logger = logging.getLogger(__name__)

_FEATURES = datasets.Features({"text": datasets.Value("string")})
_FORMAT = 2  # of the files: change it whenever the files of a corpus change
_WHOLE = "splits.json"  # the names of the splits, in order


def built_once(
    name: str,
    key: Any,
    build: Callable[[], Mapping[str, Iterable[str | None]]],
    cache_dir: str | Path | None = None,
    description: str = "",
) -> datasets.DatasetDict:
    """Returns the texts of `build` by split, in the column `text`; only the first call with a `key` builds them.

    Safe for concurrent processes: each writes to its own folder, and the first one is kept. If the cache is not
    writable, the texts are held in memory, with a warning.

    Args:
        name: of the corpus.
        key: all that determines the texts, as plain values: the contents of their sources, and a version of the code
            that reads them.
        build: called if they are not in the cache. Texts are written as they come, a few at a time.
        cache_dir: where they are kept; `None`: the cache of `datasets`.
        description: `info.description` of each split.

    Raises:
        ValueError: a cached corpus that is damaged.
    """
    digest = hashlib.sha256(json.dumps([_FORMAT, key], sort_keys=True).encode()).hexdigest()[:32]
    root = Path(cache_dir or datasets.config.HF_DATASETS_CACHE).expanduser() / "ladd_hf"
    folder = root / f"{name}-{digest}"
    if not folder.is_dir():
        try:
            _write(build(), folder)
        except _Unwritable as error:
            logger.warning(
                "The corpus %r cannot be kept in %s (%s), so it is held in memory: give a `cache_dir` that can be "
                "written to, or set HF_DATASETS_CACHE.", name, root, error.__cause__
            )  # fmt: skip
            about = datasets.DatasetInfo(description, features=_FEATURES)
            built = {
                split: datasets.Dataset.from_dict({"text": [*texts]}, info=about) for split, texts in build().items()
            }
            return datasets.DatasetDict(built)
    return _read(folder, description)


class _Unwritable(Exception):
    """The cache is not writable."""


def _write(corpus: Mapping[str, Iterable[str | None]], folder: Path) -> None:
    """Writes the whole corpus or nothing, also if other processes write the same one."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        private = tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished-")
    except OSError as error:
        raise _Unwritable from error
    with private as place:
        whole = Path(place) / "corpus"
        for split, texts in corpus.items():
            _write_split(texts, whole / split)
        try:
            (whole / _WHOLE).write_text(json.dumps(list(corpus)))
            whole.rename(folder)
        except OSError as error:
            if not folder.is_dir():  # else another process was first
                raise _Unwritable from error


def _write_split(texts: Iterable[str | None], folder: Path) -> None:
    try:
        folder.mkdir(parents=True)
        stream = pa.OSFile(str(folder / "texts.arrow"), "wb")
    except OSError as error:
        raise _Unwritable from error
    with stream, ArrowWriter(features=_FEATURES, stream=stream) as writer:
        for batch in batched_texts([text] for text in texts):  # outside of `try`: errors in reading are not the cache's
            _write_batch(writer, batch)
        try:
            writer.finalize()
        except OSError as error:
            raise _Unwritable from error


def _write_batch(writer: ArrowWriter, texts: list[str | None]) -> None:
    table = pa.table({"text": pa.array(texts, pa.string())})
    try:
        writer.write_table(table)
    except OSError as error:
        raise _Unwritable from error


def _read(folder: Path, description: str) -> datasets.DatasetDict:
    # `datasets` caches results beside the data, so hold it in memory if that folder is not writable
    in_memory = not os.access(folder, os.W_OK)
    try:
        splits = json.loads((folder / _WHOLE).read_text())
        return datasets.DatasetDict(
            {
                name: datasets.Dataset.from_file(
                    str(folder / name / "texts.arrow"),
                    info=datasets.DatasetInfo(description),
                    split=datasets.NamedSplit(name),
                    in_memory=in_memory,
                )
                for name in splits
            }
        )
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ValueError(f"The cached corpus {folder} is damaged ({error}): delete that folder.") from error
