"""What somebody gave in place of what is accepted, in words."""

from __future__ import annotations

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
