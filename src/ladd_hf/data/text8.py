"""text8, from the Hub or from the original file."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .built_corpora import built_once
from .hub_corpora import HubCorpus

_VERSION = 1  # of the cached rows: change it whenever the same text gives other rows


@dataclass(frozen=True)
class Text8:
    """text8: the first 10^8 characters of a Wikipedia dump in 27 symbols, a to z and space.

    Its rows are pieces of one text, in order: join them without a separator (`special_tokens=False`).

    Args:
        hub_id: its repository on the Hub.
        sizes: characters of the training, validation and test split, consecutive in the text.
        path: a local `text8` or `text8.zip` instead.
        remarks: size and licence.
    """

    hub_id: str = "afmck/text8"
    sizes: tuple[int, int, int] = (90_000_000, 5_000_000, 5_000_000)
    path: Path | None = None
    remarks: str = (
        "The first 100,000,000 characters of a dump of the English Wikipedia of March 2006, cleaned, of which "
        "90, 5 and 5 million are for training, validation and test. CC BY-SA."
    )

    splits = ("train", "validation", "test")
    separator = ""  # see `separator_of`
    _piece = 100_000  # characters of a row

    def load(self, split: str, streaming: bool, num_proc: int | None = None, **hub_options: Any) -> Any:
        """See [`Corpus.load`]. Raises `ValueError` for a text of another length or with other characters."""
        key = [_VERSION, self.sizes, self._piece]
        if self.path is None:
            parts = HubCorpus(self.hub_id, {}).download(None, False, **hub_options)
            key += [[name, part._fingerprint] for name, part in sorted(parts.items())]
        else:
            parts = {}
            with self.path.open("rb") as file:
                key += [self.path.suffix == ".zip", hashlib.file_digest(file, "sha256").hexdigest()]
        data = built_once("text8", key, lambda: self._rows(parts), hub_options.get("cache_dir"))[split]
        return data.to_iterable_dataset() if streaming else data

    def _rows(self, parts: Mapping[str, Any]) -> dict[str, list[str]]:
        """Returns pieces of the text by split; `parts` is the Hub's data."""
        text, rows, start = self._whole(parts), {}, 0
        for split, size in zip(self.splits, self.sizes, strict=True):
            places = range(start, start + size, self._piece)
            rows[split] = [text[place : min(place + self._piece, start + size)] for place in places]
            start += size
        return rows

    def _whole(self, parts: Mapping[str, Any]) -> str:
        if self.path is None:
            texts = ["".join(parts[name]["text"]) for name in self.splits if name in parts]
            # either the text is all in one split, or it is cut already
            text = texts[0] if texts and len(texts[0]) == sum(self.sizes) else "".join(texts)
        elif self.path.suffix == ".zip":
            text = _unzipped(self.path)
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


def _unzipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read("text8").decode("latin-1")
    except zipfile.BadZipFile as error:
        raise ValueError(f"The file {path} is no zip archive ({error}): download `text8.zip` again.") from error
    except KeyError as error:
        raise ValueError(
            f"The archive {path} holds no file `text8`: give the original `text8.zip`, or unpack yours and give the "
            "path of what it holds."
        ) from error
