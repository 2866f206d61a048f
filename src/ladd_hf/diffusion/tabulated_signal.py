"""A signal's variance given at even times, with a smooth and falling curve through the points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..utils.number_ranges import SHARE
from ..utils.wrong_objects import described


@dataclass(frozen=True)
class TabulatedSignal:
    """a(t)^2 through given values at times 0, 1/n, ..., 1.

    Between them the angle arccos a(t), which is even to signal and noise, is a monotone cubic (Fritsch and Carlson,
    1980), with the slopes of Fritsch and Butland (1984): its derivative is continuous, and it has no bumps.

    Args:
        values: n + 1 >= 2 numbers that fall from 1 to 0.

    Raises `ValueError` for anything else, and for neighbours that are too close to have different angles.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        pairs = itertools.pairwise(self.values)
        if len(self.values) < 2 or (self.values[0], self.values[-1]) != (1, 0) or any(not b < a for a, b in pairs):
            raise ValueError(
                f"`signal_variance` of the table has {len(self.values)} values, {_shown(self.values)}; give at least "
                "two, the share of the signal's variance at even times, each below the one before, from 1 to 0."
            )
        for place, (one, next_one) in enumerate(itertools.pairwise(self._angles)):
            if not one < next_one:
                raise ValueError(
                    f"`signal_variance` of the table has {self.values[place]!r} and {self.values[place + 1]!r} beside "
                    "each other, whose angles are the same number: give values that are further apart."
                )

    @classmethod
    def of(cls, values: Any) -> TabulatedSignal:
        """Returns the table of a list, as a configuration holds it. Raises `ValueError` for anything else."""
        listed = isinstance(values, Sequence) and not isinstance(values, str)
        if not listed or not all(one in SHARE for one in values):
            raise ValueError(
                f"`signal_variance` of the table is {described(values)}; give a list of shares that fall from 1 to 0, "
                "such as `decoding_schedule` measures."
            )
        return cls(tuple(float(one) for one in values))

    def __call__(self, t: Tensor) -> Tensor:
        """Returns a(t)^2 in the shape and dtype of `t`."""
        pieces = torch.tensor(self._pieces, dtype=t.dtype).to(t.device, non_blocking=True)  # (n, 4)
        scaled = t.clamp(0, 1) * len(self._pieces)
        number = scaled.detach().long().clamp(max=len(self._pieces) - 1)
        start, slope, curve, bend = pieces[number].unbind(-1)
        along = scaled - number
        return torch.cos(start + along * (slope + along * (curve + along * bend))).square()

    @cached_property
    def _angles(self) -> list[float]:
        """The angles arccos a at the points."""
        return [math.atan2(math.sqrt(1 - one), math.sqrt(one)) for one in self.values]

    @cached_property
    def _pieces(self) -> list[tuple[float, float, float, float]]:
        """Coefficients of each piece's cubic on [0, 1], the lowest first."""
        angles, rises = self._angles, [b - a for a, b in itertools.pairwise(self._angles)]
        inner = [2 / (1 / a + 1 / b) for a, b in itertools.pairwise(rises)]
        slopes = [_slope_at_end(rises), *inner, _slope_at_end(rises[::-1])]
        return [
            (angle, first, 3 * rise - 2 * first - last, first + last - 2 * rise)
            for angle, rise, (first, last) in zip(angles[:-1], rises, itertools.pairwise(slopes), strict=True)
        ]


def _slope_at_end(rises: Sequence[float]) -> float:
    """Returns the slope of the parabola through the last three points where it keeps the curve rising."""
    if len(rises) == 1:
        return rises[0]
    return min(max((3 * rises[0] - rises[1]) / 2, 0.0), 3 * rises[0])


def _shown(values: Sequence[float]) -> str:
    return ", ".join(f"{one:g}" for one in values[:6]) + (", ..." if len(values) > 6 else "")
