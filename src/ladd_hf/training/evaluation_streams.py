"""Streamed evaluation sets shared by several processes: each text counts once.

If a stream's last batch is too small for all processes, it is filled up with earlier texts, so that all make the same
number of steps. Each text carries its number in the stream, by which repeated ones are recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

NUMBER = "number_in_stream"


class NumberedTexts(IterableDataset):
    """A stream whose rows have their number in the column `NUMBER`, unique also if workers share the stream."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for number, row in enumerate(self.stream):
            yield {**row, NUMBER: first + number * step}


class NumberedCollator:
    """Wraps any collator of texts; adds the texts' numbers to its batches."""

    def __init__(self, collator: Callable[[list[dict[str, Any]]], dict[str, Any]]) -> None:
        self.collator = collator

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Returns the collator's batch of the rows without their numbers, and `NUMBER` `(B,)`."""
        numbers = torch.tensor([row[NUMBER] for row in rows])
        batch = self.collator([{name: value for name, value in row.items() if name != NUMBER} for row in rows])
        return {**batch, NUMBER: numbers}


def each_once(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the rows that count, in order: the first of each number `(N,)`, and all without a number (-1)."""
    _, first = np.unique(numbers, return_index=True)
    return np.flatnonzero((numbers < 0) | np.isin(np.arange(len(numbers)), first))
