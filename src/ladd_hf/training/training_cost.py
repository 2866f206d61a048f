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
    """Operations of a run's batches, forward and backward.

    The first batches of a stage, and of it with further evaluations, are counted while they run; the following ones
    cost their mean per position.
    """

    def __init__(self) -> None:
        # by stage and kind of step: positions and operations of each batch
        self._counted: dict[tuple[int, bool, bool, bool], list[tuple[int, int]]] = {}
        self._seen: int | None = None  # operations of the present batch, if it was counted

    @contextmanager
    def watching(self, kind: tuple[int, bool, bool, bool], inputs: Mapping[str, Any]) -> Iterator[None]:
        """Context of the forward and backward pass of a batch of `input_ids` `(B, S)`.

        `kind` is the number of the stage, and whether the consistency term, self-conditioning and jumps are on."""
        counted, self._seen = self._counted.setdefault(kind, []), None
        if len(counted) == _COUNTED:
            yield
            return
        # compiled code is not dispatched; and a model first met under a counter stays uncompiled as of torch 2.13.0
        with torch.compiler.set_stance("force_eager"), FlopCounter() as counter:
            yield
        self._seen = counter.flops
        counted.append((inputs["input_ids"].numel(), counter.flops))

    def of(self, kind: tuple[int, bool, bool, bool], inputs: Mapping[str, Any]) -> float:
        """Returns the operations of the batch that was watched last."""
        if self._seen is not None:
            return self._seen
        positions, flops = map(sum, zip(*self._counted[kind], strict=True))
        return flops / positions * inputs["input_ids"].numel()
