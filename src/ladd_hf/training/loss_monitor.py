"""Sums of the loss's parts between two logs, and checks for non-finite losses and gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class NonFiniteLossError(RuntimeError):
    """A part of the loss became infinite or nan."""


class LossMonitor:
    """Accumulates named scalars on their device, without synchronising in each training step."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._last_step: dict[str, int] = {}
        self._first_bad: dict[str, Tensor] = {}

    def add(self, parts: dict[str, Tensor], step: int) -> None:
        """Adds one batch's parts at optimiser step `step`; batches accumulated for one step are summed."""
        for name, value in parts.items():
            value = value.detach().double()
            if name not in self._sums:
                self._sums[name] = torch.zeros_like(value)
                self._counts[name] = 0
                self._last_step.pop(name, None)
            self._sums[name] += value
            self._counts[name] += step != self._last_step.get(name)
            self._last_step[name] = step
            self.guard(name, value, step)

    def guard(self, name: str, value: Tensor, step: int) -> None:
        """Remembers this scalar for `check` if it is not finite, without summing it."""
        value = value.detach().double()
        seen = self._first_bad.setdefault(name, torch.full_like(value, torch.inf))
        seen.copy_(torch.where(seen.isinf() & ~value.isfinite(), float(step), seen))

    def check(self, gather: Callable[[Tensor], Tensor] | None = None) -> None:
        """Raises [`NonFiniteLossError`] with step and part if a value was infinite or nan. Synchronises with the
        device.

        `gather` stacks the processes' tensors: with it, all processes must call this, and all raise together.
        """
        if not self._first_bad:
            return
        steps = torch.stack(list(self._first_bad.values()))  # (parts,)
        if gather is not None:
            steps = gather(steps[None]).amin(0)
        step, part = (int(x) if x.isfinite() else -1 for x in steps.min(0))
        if step >= 0:
            name = list(self._first_bad)[part]
            raise NonFiniteLossError(
                f"`{name}` was not finite at step {step + 1}: training stops, and the last checkpoint is as it was. "
                "Lower the learning rate, clip gradients, or look at that step's data."
            )

    def means(self) -> dict[str, Tensor]:
        """Returns the mean over steps of each part since the last call, and resets the sums."""
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        return means
