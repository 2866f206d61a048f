"""Rounding of shares of whole numbers."""

from __future__ import annotations

import math

_SLACK = 1e-9  # 0.29 * 50 is 14.499999999999998 and should count as 14.5


def round_half_up(value: float) -> int:
    """Returns the nearest whole number, rounding halves up, whereas Python's `round` rounds them to even."""
    return math.floor(value + 0.5 + _SLACK)
