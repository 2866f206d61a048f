"""Descriptions of wrong arguments, for error messages."""

from __future__ import annotations

import math
from collections.abc import Container
from numbers import Integral, Real
from typing import Any

_LONGEST = 60


def described(value: Any) -> str:
    """Describes an object in an error: plain values as they are, anything else by its class."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        shown = repr(value)
        return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def check_number(name: str, value: Any, whole: bool = False) -> None:
    """Raises `ValueError` unless it is a finite number, whole if `whole`; `name` as the error writes it."""
    kind = Integral if whole else Real
    if not isinstance(value, kind) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} is {described(value)}; give a {'whole ' if whole else ''}number.")


def is_one_of(value: Any, choices: Container[str]) -> bool:
    """True if it is a text, and among the choices; lists and other unhashable objects are not even looked up."""
    return isinstance(value, str) and value in choices
