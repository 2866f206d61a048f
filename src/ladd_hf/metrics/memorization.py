"""Memorisation: the share of samples' windows that occur in the training texts.

`evaluate.load("<this file>", module_type="measurement")` reads the imports line by line: no import spans two lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import evaluate
import numpy as np
from numpy.typing import NDArray

from ladd_hf.metrics.bootstrap import Estimate, bootstrap_ratio
from ladd_hf.metrics.measurement_info import IDS, TEXT, measurement_info
from ladd_hf.utils.number_ranges import COUNT

Codes = NDArray[np.uint32]
Hashes = NDArray[np.uint64]
Counts = NDArray[np.int64]

_AT_ONCE = 1 << 16  # windows of the training texts that are looked up together, in the processor's cache
_BITS = 22  # of the table that tells most windows that are in no sample
_MIX = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)  # odd constants, of SplitMix64

_DESCRIPTION = """\
The share of windows of consecutive characters, or tokens, of the samples that occur in the training texts.
"""

_INPUTS_DESCRIPTION = """\
Args:
    data: samples, texts or sequences of ids, as the training texts are.

Returns:
    memorized: windows of the samples that occur in a training text, divided by all their windows.
    memorized_stderr: its standard error, a bootstrap over samples; left out for a single one.
    window: length of a window.
    windows: number of windows of the samples.
"""


class TrainingWindows:
    """The windows of training texts, searched exactly.

    The texts are kept as 4 bytes for each character or token. A search reads through them in parts, with hashes that
    tell most windows apart; those that agree are compared in full, so that no collision is counted. It takes a few
    MiB beside the samples, whatever the length of the texts.

    Args:
        texts: strings, or sequences of ids below 2**32; windows do not cross from one to the next.
        window: number of characters or tokens of a window.

    Raises `ValueError` for a window below 1, and if no text has a window.
    """

    def __init__(self, texts: Iterable[str | Sequence[int]], window: int = 24) -> None:
        COUNT.check("window", window)
        self.window = window
        self._codes, lengths = _joined(texts)
        self._ends = lengths.cumsum()
        if not (lengths >= window).any():
            raise ValueError(
                f"No training text has {window} characters or tokens, as many as a window: give longer texts, or a "
                "smaller `window`."
            )

    def found(self, samples: Sequence[str | Sequence[int]]) -> tuple[Counts, Counts]:
        """Returns, for each sample, how many of its windows occur in a training text, and how many it has: `(N,)`
        each."""
        codes, lengths = _joined(samples)
        places = np.arange(max(len(codes) - self.window + 1, 0))
        starts = places[_within(lengths.cumsum(), places, self.window)]
        sample_of_start = np.repeat(np.arange(len(lengths)), lengths)[starts]
        total = np.bincount(sample_of_start, minlength=len(lengths))
        if not len(starts):
            return np.zeros_like(total), total
        view = np.lib.stride_tricks.sliding_window_view(codes, self.window)
        hashes, known = _hashes(codes, self.window)[starts], np.zeros(len(starts), dtype=bool)
        left = np.arange(len(starts))
        while len(left):  # once, unless different windows have one hash
            different, firsts, which = np.unique(hashes[left], return_index=True, return_inverse=True)
            chosen = left[firsts]
            occurs = self._occur(different, view[starts[chosen]])
            same = (view[starts[left]] == view[starts[chosen[which]]]).all(1)
            known[left[same]] = occurs[which[same]]
            left = left[~same]
        return np.bincount(sample_of_start[known], minlength=len(lengths)), total

    def _occur(self, hashes: Hashes, windows: Codes) -> NDArray[np.bool_]:
        """Returns for windows `(n, window)`, whose hashes are sorted and different, whether a training text has each,
        `(n,)`."""
        shift, occurs = np.uint64(64 - _BITS), np.zeros(len(windows), dtype=bool)
        table = np.zeros(1 << _BITS, dtype=bool)
        table[hashes >> shift] = True
        view = np.lib.stride_tricks.sliding_window_view(self._codes, self.window)
        for first, part in self._parts():
            places = np.flatnonzero(table[part >> shift])
            found = np.searchsorted(hashes, part[places]).clip(max=len(hashes) - 1)
            new = (hashes[found] == part[places]) & ~occurs[found]
            places, found = first + places[new], found[new]
            whole = _within(self._ends, places, self.window)
            places, found = places[whole], found[whole]
            occurs[found[(view[places] == windows[found]).all(1)]] = True
        return occurs

    def _parts(self) -> Iterator[tuple[int, Hashes]]:
        """Yields the hashes of the windows that start at consecutive places, with the first place."""
        last = len(self._codes) - self.window + 1
        for first in range(0, last, _AT_ONCE):
            end = min(first + _AT_ONCE, last)
            yield first, _hashes(self._codes[first : end + self.window - 1], self.window)


def _joined(texts: Iterable[str | Sequence[int]]) -> tuple[Codes, Counts]:
    """Returns all texts as numbers, one after the other, and their lengths."""
    codes = [_codes(text) for text in texts]
    lengths = np.array([len(one) for one in codes], dtype=np.int64)
    return np.concatenate([np.zeros(0, dtype=np.uint32), *codes]), lengths


def _codes(text: str | Sequence[int]) -> Codes:
    if isinstance(text, str):
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    ids = np.asarray(text)
    if ids.ndim != 1 or (len(ids) and (ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= 2**32)):
        raise ValueError(
            f"A text has shape {ids.shape} and dtype {ids.dtype}; give strings, or sequences of ids from 0 to 2**32 "
            "- 1."
        )
    return ids.astype(np.uint32)


def _within(ends: Counts, places: Counts, window: int) -> NDArray[np.bool_]:
    """Tells which windows that start at these places lie in one text; `ends` are the texts'."""
    return ends[np.searchsorted(ends, places, side="right")] - places >= window


def _hashes(codes: Codes, window: int) -> Hashes:
    """Returns a 64-bit hash of each window, `(len(codes) - window + 1,)`: of two halves' hashes, by doubling."""
    found: Hashes | None = None
    power, length, done = codes.astype(np.uint64) * np.uint64(_MIX[0]), 1, 0
    number = len(codes) - window + 1
    while True:
        if window & length:
            here = power[done : done + number]
            found = here if found is None else _mixed(found, here)
            done += length
        length *= 2
        if length > window:
            break
        power = _mixed(power[: len(power) - length // 2], power[length // 2 :])
    assert found is not None  # a window has a length
    return found


def _mixed(left: Hashes, right: Hashes) -> Hashes:
    """Hashes pairs of hashes, in order; the upper bits depend on all others."""
    state = left * np.uint64(_MIX[1])
    state += right * np.uint64(_MIX[2])
    state ^= state >> np.uint64(29)
    return state


def memorized_share(training: TrainingWindows, samples: Sequence[str | Sequence[int]]) -> Estimate:
    """Computes the share of the samples' windows that occur in the training texts, with a bootstrap over samples.

    Samples shorter than a window have none. Hold it against the same share of held-out texts: phrases that everybody
    writes occur in both. Raises `ValueError` if no sample has a window.
    """
    return _share(*training.found(samples), training.window)


def _share(found: Counts, total: Counts, window: int) -> Estimate:
    if not total.any():
        raise ValueError(
            f"No sample has {window} characters or tokens, as many as a window: give longer samples, or a "
            "smaller `window`."
        )
    return bootstrap_ratio(found, total)


class Memorization(evaluate.Measurement):
    """Share of samples' windows that occur in training texts: `Memorization(training_texts).compute(data=samples)`.

    Args:
        texts: the training texts: strings, or sequences of ids.
        window: characters or tokens of a window; 24 characters or 8 tokens are usual.

    Raises the errors of [`TrainingWindows`] and [`memorized_share`].
    """

    def __init__(self, texts: Iterable[str | Sequence[int]], window: int = 24, **kwargs: Any) -> None:
        self.training = TrainingWindows(texts, window)
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MeasurementInfo:
        return measurement_info(_DESCRIPTION, _INPUTS_DESCRIPTION, TEXT, IDS)

    def _compute(self, data: Sequence[Any]) -> dict[str, Any]:
        found, total = self.training.found(data)
        share = _share(found, total, self.training.window)
        return {**share.named("memorized"), "window": self.training.window, "windows": int(total.sum())}
