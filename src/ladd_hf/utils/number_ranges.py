"""Ranges of numeric settings, in one table; nan is in none of them."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from .wrong_objects import described

_LARGEST = 2**63 - 1  # of the whole numbers that tensors hold
_SMALLEST_FLOAT, _LARGEST_FLOAT = 2.0**-126, (2 - 2.0**-23) * 2.0**127  # normal numbers of float32


@dataclass(frozen=True)
class NumberRange:
    """The numbers a setting may have: between two ends, and representable in float32, or in int64 if they are whole.

    Attributes:
        accepted: the range in words, for the message, such as "a share from 0 to 1".
        least, most: its ends, which belong to it unless they are infinite.
        without_ends: `"least"`, `"most"`, or both, for ends that do not belong to it.
        whole: accept only whole numbers.
    """

    accepted: str
    least: float = -math.inf
    most: float = math.inf
    without_ends: tuple[str, ...] = ()
    whole: bool = False

    def __contains__(self, value: Any) -> bool:
        if not isinstance(value, Real) or isinstance(value, bool):
            return False
        number = int(value) if isinstance(value, Integral) else float(value)
        ends = {self.least: "least", self.most: "most"}
        inside = _is_held(number) and self.least <= number <= self.most and ends.get(number) not in self.without_ends
        return inside and (not self.whole or isinstance(number, int))

    def check(self, name: str, value: Any) -> None:
        """Raises `ValueError` for a value outside of the range, including nan and infinity."""
        if value in self:
            return
        in_range = isinstance(value, float) and math.isfinite(value) and self.least <= value <= self.most
        beyond = in_range and not _is_held(value)
        held = f", one that float32 holds ({_SMALLEST_FLOAT:.1e} to {_LARGEST_FLOAT:.1e})" if beyond else ""
        raise ValueError(f"`{name}` is {described(value)}; give {self.accepted}{held}.")


def _is_held(number: int | float) -> bool:
    """True if a tensor can hold the number: int64, or float32 without underflow or overflow. False for nan."""
    if isinstance(number, int):
        return abs(number) <= _LARGEST
    return number == 0 or _SMALLEST_FLOAT <= abs(number) <= _LARGEST_FLOAT


def whole(least: int, accepted: str) -> NumberRange:
    """Returns the range of whole numbers from `least` up."""
    return NumberRange(accepted, least=least, whole=True)


COUNT = whole(1, "a whole number of at least 1")
COUNT_OR_ZERO = whole(0, "a whole number of at least 0")
AT_LEAST_ONE = NumberRange("a number of at least 1", least=1)
POSITIVE = NumberRange("a number above 0", least=0, without_ends=("least",))
NOT_NEGATIVE = NumberRange("a number of 0 or more", least=0)
WEIGHT = NumberRange("a weight of 0 (off) or more", least=0)
SHARE = NumberRange("a share from 0 to 1", least=0, most=1)
SEED_OF_64_BITS = NumberRange("a whole number that 64 bits hold", whole=True)
SEED = NumberRange("a whole number from 0 to 2**32 - 1", least=0, most=2**32 - 1, whole=True)
SHARE_BELOW_ONE = NumberRange("a share from 0 to below 1", least=0, most=1, without_ends=("most",))


def check_ranges(settings: Any, ranges: Mapping[str, NumberRange], optional: Container[str] = ()) -> None:
    """Raises `ValueError` for the first attribute of `settings` outside of its range; those that are `optional` may be
    `None`."""
    for name, allowed in ranges.items():
        value = getattr(settings, name)
        if value is not None or name not in optional:
            allowed.check(name, value)
