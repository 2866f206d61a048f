"""Texts in CSV and TSV files; errors name the file and the line."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, TextIO

from fsspec.compression import compr
from fsspec.utils import infer_compression

from .json_files import missing_column, no_rows

_LONGEST = 2**31 - 1  # characters of a field, which `csv` ends at 131,072 unless told otherwise
SEPARATORS = {"csv": ",", "tsv": "\t"}
_NAMES = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


def csv_texts(file: str, column: str, separator: str) -> Iterator[str]:
    """Yields the texts of a file, row by row.

    Its first row is a header; fields with separators, quotes or line breaks are in double quotes, which are doubled
    inside. Lines without anything in them are no rows.

    Args:
        file: its path.
        column: the column with the texts.
        separator: between columns.

    Raises `ValueError` for a file without such a column or without rows, for a row with more or fewer columns than the
    header, and for quotes that do not close.
    """
    if csv.field_size_limit() < _LONGEST:
        csv.field_size_limit(_LONGEST)
    with _opened(file) as lines:
        rows = _rows(csv.reader(lines, delimiter=separator, strict=True), file)
        _, names = next(rows, (0, []))
        place, found = _place(file, column, names, separator), False
        for line, row in rows:
            if len(row) != len(names):
                raise ValueError(
                    f"Line {line} of the file {file} has {len(row)} columns, and the header {len(names)}: put texts "
                    f"that hold {_NAMES[separator]} or line breaks into double quotes."
                )
            found = True
            yield row[place]
    if not found:
        raise ValueError(no_rows(file))


@contextmanager
def _opened(file: str) -> Iterator[TextIO]:
    """Context in which a file is open, unpacked if its name says that it is compressed."""
    kind = infer_compression(file)
    with open(file, "rb") as packed:
        unpacked = packed if kind is None else compr[kind](packed, mode="rb")
        yield TextIOWrapper(unpacked, encoding="utf-8-sig", newline="")


def check_csv_file(file: str, column: str, separator: str) -> None:
    """Raises as [`csv_texts`] does at the first row, so that a stream is refused before it is read."""
    next(csv_texts(file, column, separator))


def _rows(reader: Any, file: str) -> Iterator[tuple[int, list[str]]]:
    """Yields each row with the number of its last line."""
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(
            f"Line {reader.line_num} of the file {file} cannot be read ({error}): double each quote inside of a quoted "
            "text, and close every quote."
        ) from error


def _place(file: str, column: str, names: list[str], separator: str) -> int:
    if column in names:
        return names.index(column)
    others = [one for one in _NAMES if one != separator and len(names) == 1 and column in names[0].split(one)]
    if others:
        raise ValueError(
            f"The header of {file} is separated by {_NAMES[others[0]]}, but {_NAMES[separator]} are accepted in a file "
            "of this name: write it with them, or tabs in a file that ends in '.tsv'."
        )
    raise ValueError(missing_column(file, column, names))
