"""What somebody gave in place of what is accepted, in words."""

from __future__ import annotations

import math
from collections.abc import Container
from numbers import Integral, Real
from typing import Any

_LONGEST = 60


def described(value: Any) -> str:
    """An object as an error names it: plain values as they are, anything else by its class."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        shown = repr(value)
        return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def check_number(name: str, value: Any, whole: bool = False) -> None:
    """Raises `ValueError` for what is no finite number, or with `whole` no whole one; `name` as the error writes it."""
    kind = Integral if whole else Real
    if not isinstance(value, kind) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{name} is {described(value)}; give a {'whole ' if whole else ''}number.")


def is_one_of(value: Any, choices: Container[str]) -> bool:
    """Whether it is a text, and among the choices: lists and the like can not even be looked up."""
    return isinstance(value, str) and value in choices
