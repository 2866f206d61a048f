"""Texts of similar length in a batch, in an order that a run, resumed in any epoch, finds again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler


class EpochLengthGroupedSampler(LengthGroupedSampler):
    """transformers' `LengthGroupedSampler`, whose order is a function of a seed and the epoch alone.

    Args:
        seed: of the data's order.
        args, kwargs: as of `LengthGroupedSampler`.
    """

    def __init__(self, seed: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch that the next pass is."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return super().__iter__()
