"""Type checks of settings read from YAML, by their fields' annotations."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text, in quotes where YAML takes it for another",
    dict: "a mapping",
    list: "a list",
    list[int]: "whole numbers, in a list",
    list[str]: "a list of texts",
}


def check_kinds(settings: Mapping[str, Any], kinds: Mapping[str, Any], texts_are_read: bool = False) -> None:
    """Raises `ValueError` for the first setting of a wrong type.

    With `texts_are_read`, strings are accepted for numbers and booleans, since the parser of flags converts them and
    rejects invalid ones. A single number is accepted for a list.
    """
    for name, value in settings.items():
        if name in kinds and not _fits(value, kinds[name], texts_are_read):
            raise ValueError(f"`{name}` is {value!r}; give {_in_words(kinds[name])}.")


def _fits(value: Any, kind: Any, texts_are_read: bool) -> bool:
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, one, texts_are_read) for one in get_args(kind))
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in get_args(kind))
    if origin is list and isinstance(value, list):
        return all(_fits(one, get_args(kind)[0], texts_are_read=False) for one in value)
    if kind == list[int]:
        return _fits(value, int, texts_are_read)
    if kind in (int, float, bool) and isinstance(value, str):
        return texts_are_read
    if kind in (int, float):  # in Python, unlike YAML, true is a number
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return isinstance(value, str)
    kind = origin or kind
    return not isinstance(kind, type) or isinstance(value, kind)


def _in_words(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        kinds = [one for one in get_args(kind) if one is not NoneType]
        return " or ".join(dict.fromkeys(map(_in_words, kinds)))
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _WORDS[str]
    return _WORDS.get(kind) or _WORDS.get(get_origin(kind)) or f"a {getattr(kind, '__name__', kind)}"
