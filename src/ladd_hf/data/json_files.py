"""Texts in JSON files; errors name the file and the line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

_KINDS = {str: "string", dict: "object", list: "list", int: "number", float: "number", bool: "boolean"}
_HALF = re.compile("[\ud800-\udfff]")  # a lone surrogate: half of a character of two code units
# Errors besides invalid JSON: Python's for too deep nesting, and for a number of thousands of digits.
_NO_VALUE = (RecursionError, ValueError)


def json_texts(file: str, column: str) -> Iterator[str | None]:
    """Yields the texts of a file, row by row.

    A file holds JSON lines, a list of objects or of strings, or one object.

    Args:
        file: its path.
        column: the objects' field with the text; for a later object without it, or with `null`, the text is `None`.

    Raises `ValueError` for a file with other content or without rows, for a first row without the field, and for a
    text that is not a string.
    """
    number = 0
    for number, (line, row) in enumerate(_rows(file), 1):
        if not isinstance(row, dict):
            raise ValueError(
                f"Line {line} of the file {file} holds a {_kind(row)} for a row, but an object with the text in a "
                f"field is accepted: {json.dumps({column: '...'})}."
            )
        if number == 1 and column not in row:
            raise ValueError(missing_column(file, column, list(row)))
        text = row.get(column)
        if text is not None and not isinstance(text, str):
            raise ValueError(
                f"The column {column!r} of {file} holds a {_kind(text)} (line {line}), but strings are accepted: "
                "name the one with the texts (`text_column`)."
            )
        if text is not None and (half := _HALF.search(text)):
            raise ValueError(
                f"Line {line} of the file {file} holds half a character (\\u{ord(half[0]):04x} without the other half"
                "): write both halves, or the character itself."
            )
        yield text
    if not number:
        raise ValueError(no_rows(file))


def check_json_file(file: str, column: str) -> None:
    """Raises as [`json_texts`] does at the first row, so that a stream is refused before it is read."""
    next(json_texts(file, column))


def missing_column(source: str, column: str, names: Sequence[str]) -> str:
    """Returns the error message for a source without the requested column."""
    there = f"but {', '.join(map(repr, names))}" if names else "nor any other"
    return f"{source} has no column {column!r}, {there}: name the one with the texts (`text_column`)."


def no_rows(file: str) -> str:
    """Returns the error message for a file without rows."""
    return f"The file {file} holds no rows: remove it, or write texts to it."


def _kind(value: Any) -> str:
    return "null" if value is None else _KINDS[type(value)]


def _rows(file: str) -> Iterator[tuple[int, Any]]:
    """Yields the line number and value of each row."""
    with open(file, encoding="utf-8-sig") as lines:
        filled: Iterator[tuple[int, str]] = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
        number, line = next(filled, (1, ""))
        try:
            first = json.loads(line)
        except json.JSONDecodeError:  # one value over many lines, or broken
            first, filled = _whole(file), iter(())
        except _NO_VALUE as error:
            raise _refused(file, number, error) from error
        if isinstance(first, list):
            yield from ((number, {"text": row} if isinstance(row, str) else row) for row in first)
        else:
            yield number, first
        for number, line in filled:
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise _broken(file, number, error) from error
            except _NO_VALUE as error:
                raise _refused(file, number, error) from error
            yield number, row


def _whole(file: str) -> Any:
    with open(file, encoding="utf-8-sig") as whole:
        try:
            return json.load(whole)
        except json.JSONDecodeError as error:
            raise _broken(file, error.lineno, error) from error
        except _NO_VALUE as error:
            raise _refused(file, 1, error) from error


def _broken(file: str, line: int, error: json.JSONDecodeError) -> ValueError:
    return ValueError(
        f"Line {line} of the file {file} is not JSON ({error.msg}, at character {error.colno}): write an object per "
        "line, or one list of objects."
    )


def _refused(file: str, line: int, error: Exception) -> ValueError:
    return ValueError(
        f"Line {line} of the file {file} holds JSON that cannot be read ({error}): write rows with few levels of "
        "lists and objects, and numbers of few digits."
    )
