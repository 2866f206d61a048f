"""Corpora that are built rather than downloaded: once, into the cache of `datasets`, and memory-mapped from then on."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets

logger = logging.getLogger(__name__)


def built_once(
    name: str, key: Any, build: Callable[[], Mapping[str, list[str]]], cache_dir: str | Path | None = None
) -> datasets.DatasetDict:
    """The texts that `build` gives by split, in the column `text`; only the first call with this `key` builds them.

    Several processes may ask at once: each writes to a folder of its own, and the first one's is kept. Where the cache
    can not be written to, the texts are held in memory, with a warning.

    Args:
        name: of the corpus.
        key: what decides the texts, as plain values: their sources, and a version of the code that reads them.
        build: called where they are not in the cache.
        cache_dir: where they are kept; `None`: where `datasets` keeps its own.

    Raises:
        ValueError: a cached corpus that is damaged.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    root = Path(cache_dir or datasets.config.HF_DATASETS_CACHE).expanduser() / "ladd_hf"
    folder = root / f"{name}-{digest}"
    if not folder.is_dir():
        texts = build()
        built = datasets.DatasetDict(
            {split: datasets.Dataset.from_dict({"text": rows}) for split, rows in texts.items()}
        )
        try:
            _write(built, folder)
        except OSError as error:
            logger.warning(
                "The corpus %r can not be kept in %s (%s), so it is held in memory: give a `cache_dir` that can be "
                "written to, or set HF_DATASETS_CACHE.", name, root, error
            )  # fmt: skip
            return built
    return _read(folder)


def _write(corpus: datasets.DatasetDict, folder: Path) -> None:
    """All of it or nothing, whoever else does the same."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unfinished-") as private:
        whole = Path(private) / "corpus"
        corpus.save_to_disk(whole, num_shards=dict.fromkeys(corpus, 1))  # of an empty split as well
        try:
            whole.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first
                raise


def _read(folder: Path) -> datasets.DatasetDict:
    # what is computed from it is kept beside it, so in memory where that is not possible
    in_memory = not os.access(folder, os.W_OK)
    try:
        corpus = datasets.load_from_disk(folder, keep_in_memory=in_memory)
    except (OSError, ValueError) as error:
        raise ValueError(f"The cached corpus {folder} is damaged ({error}): delete that folder.") from error
    assert isinstance(corpus, datasets.DatasetDict)
    return corpus
