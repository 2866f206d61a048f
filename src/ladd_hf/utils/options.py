"""Options of a choice as a frozen dataclass whose fields declare the values they accept."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar

from .number_ranges import NumberRange
from .wrong_objects import described

REQUIRED: Any = MISSING  # marks an option without a default
Accepted = NumberRange | tuple[str, ...] | type


def option(default: Any, accepted: Accepted) -> Any:
    """Declares a field of [`Options`]: a range of numbers, one of several texts, or a type; and its default, accepted
    also if it is `None`, or `REQUIRED`."""
    return field(default=default, metadata={"accepted": accepted})


@dataclass(frozen=True)
class Options:
    """Base of the options of a choice. Raises `ValueError` for values that a field made by [`option`] does not accept.

    Attributes:
        setting: the setting that makes the choice, for messages.
    """

    setting: ClassVar[str]

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if "accepted" in one.metadata and (value is not None or one.default is not None):
                _check(f"{self.setting}.{one.name}", value, one.metadata["accepted"])

    def spec(self, name: str) -> str | dict[str, Any]:
        """Returns the choice as a setting: `name` alone, or a mapping with the options that differ from the
        defaults."""
        changed = {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}
        return {"name": name, **changed} if changed else name


def _check(name: str, value: Any, accepted: Accepted) -> None:
    if isinstance(accepted, NumberRange):
        accepted.check(name, value)
    elif isinstance(accepted, tuple):
        if not isinstance(value, str) or value not in accepted:
            raise ValueError(f"`{name}` is {described(value)}; give one of {', '.join(map(repr, accepted))}.")
    elif not isinstance(value, accepted):
        words = {str: "a text", bool: "true or false", list: "a list", dict: "a mapping"}
        raise ValueError(f"`{name}` is {described(value)}; give {words[accepted]}.")
