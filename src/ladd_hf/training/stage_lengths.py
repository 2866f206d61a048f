"""Lengths of stages: numbers of steps, epochs, or shares of the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ..utils.number_ranges import NumberRange


class _StepsOrShare(NumberRange):
    """Whole numbers of steps, and shares of the run between 0 and 1."""

    def __contains__(self, value: Any) -> bool:
        return super().__contains__(value) and (value < 1 or float(value).is_integer())


STEPS_OR_SHARE = _StepsOrShare(
    "a number of steps, or a share of the run above 0 and below 1", least=0, without_ends=("least",)
)


@dataclass(frozen=True)
class RunLength:
    """The length of a run, as far as it is known.

    Attributes:
        steps: of the optimiser; 0 if not known yet.
        steps_per_epoch: 0 if not known yet, or if an epoch has no length.
    """

    steps: int = 0
    steps_per_epoch: float = 0


def is_share(value: float | None) -> bool:
    """True if a length is a share of the run, not a number of steps."""
    return value is not None and 0 < value < 1


def steps_of(value: float, num_steps: int) -> int:
    """Converts a length to steps of a run of `num_steps`; a share is rounded, and is at least 1."""
    return max(1, math.floor(value * num_steps + 0.5)) if is_share(value) else int(value)
