"""Sums of the loss's parts between two logs, and the guard against losses that are no numbers."""

from __future__ import annotations

import torch
from torch import Tensor


class NonFiniteLossError(RuntimeError):
    """A part of the loss became infinite or nan."""


class LossMonitor:
    """Accumulates named scalars on their device, so that no training step waits for it."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._first_bad: dict[str, Tensor] = {}

    def add(self, parts: dict[str, Tensor], step: int) -> None:
        """Adds one batch's parts at optimiser step `step`."""
        for name, value in parts.items():
            value = value.detach().double()
            if name not in self._sums:
                self._sums[name] = torch.zeros_like(value)
                self._counts[name] = 0
            if name not in self._first_bad:
                self._first_bad[name] = torch.full_like(value, -1.0)
            self._sums[name] += value
            self._counts[name] += 1
            seen = self._first_bad[name]
            seen.copy_(torch.where((seen < 0) & ~value.isfinite(), float(step), seen))

    def check(self) -> None:
        """Raises [`NonFiniteLossError`] with step and part if a value was infinite or nan. Waits for the device."""
        bad = {name: int(step) for name, step in self._first_bad.items() if step >= 0}
        if bad:
            name, step = min(bad.items(), key=lambda item: item[1])
            raise NonFiniteLossError(
                f"`{name}` was not finite at step {step + 1}: training stops, and the last checkpoint is as it was. "
                "Lower the learning rate, clip gradients, or look at that step's data."
            )

    def means(self) -> dict[str, Tensor]:
        """Mean of each part since the last call, and a fresh start."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        return means
