"""Shares of whole numbers as whole numbers."""

from __future__ import annotations

import math

_SLACK = 1e-9  # 0.29 * 50 is 14.499999999999998, and meant to be 14.5


def round_half_up(value: float) -> int:
    """The nearest whole number, of two equally near ones the larger: Python's `round` takes the even one."""
    return math.floor(value + 0.5 + _SLACK)
