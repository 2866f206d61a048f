"""Cost of a run in floating-point operations, counted on the first batches of each stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ..metrics.flops import FlopCounter

# Batches counted in each stage; the share of masked tokens, which only the head's operations depend on, varies.
_COUNTED = 4


class TrainingCost:
    """Operations of each stage's training step per position of a batch, forward and backward.

    The first batches of a stage are counted while they run; their mean stands for the following ones.
    """

    def __init__(self) -> None:
        self._counted: dict[int, tuple[int, int, int]] = {}  # by stage: batches, positions, operations

    @contextmanager
    def watching(self, stage: int, inputs: Mapping[str, Any]) -> Iterator[None]:
        """Context of the forward and backward pass of a batch of `input_ids` `(B, S)` in a stage."""
        batches, positions, flops = self._counted.get(stage, (0, 0, 0))
        if batches == _COUNTED:
            yield
            return
        # compiled code is not dispatched; and a model first met under a counter would stay uncompiled
        with torch.compiler.set_stance("force_eager"), FlopCounter() as counter:
            yield
        self._counted[stage] = batches + 1, positions + inputs["input_ids"].numel(), flops + counter.flops

    def of(self, stage: int, inputs: Mapping[str, Any]) -> float:
        """Returns the operations of a batch `(B, S)` in a stage that has been watched."""
        _, positions, flops = self._counted[stage]
        return flops / positions * inputs["input_ids"].numel()
