"""Texts in local files of any other kind that the library `datasets` reads, such as Arrow files or compressed ones."""

from __future__ import annotations

import glob
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from .csv_files import SEPARATORS, csv_texts
from .json_files import missing_column, no_rows

# Errors of its readers, and of the libraries that these need.
_ERRORS = (
    *(datasets.exceptions.DatasetsError, pa.ArrowException, ImportError, LookupError, NotImplementedError),
    *(EOFError, OSError, RuntimeError, TypeError, ValueError),
)
_END = object()


def other_texts(file: str, column: str, sample_by: str) -> Iterator[str | None]:
    """Yields the texts of a file, row by row; `sample_by` chooses the rows of compressed text files.

    Raises:
        FileNotFoundError: a file of a kind that `datasets` does not read.
        ValueError: a file that is damaged or has no rows, and one without texts in `column`.
    """
    for ending in set(Path(file).suffixes) & {f".{kind}" for kind in SEPARATORS}:  # whose texts stay as they stand
        yield from _unpacked(file, column, SEPARATORS[ending[1:]])
        return
    if glob.has_magic(str(Path(file).absolute().parent)):
        raise ValueError(
            f"The file {file} is in a folder with '[', '?' or '*' in its name, a pattern for the library `datasets`: "
            "move it, or write it as one of .txt, .json, .csv and .parquet."
        )
    rows, number = _rows(file, sample_by), 0
    while (row := _next(rows, file)) is not _END:
        number += 1
        if column not in row:
            raise ValueError(missing_column(file, column, list(row)))
        if row[column] is not None and not isinstance(row[column], str):
            raise ValueError(
                f"The column {column!r} of {file} holds {type(row[column]).__name__} (row {number}), but strings are "
                "accepted: name the one with the texts (`text_column`)."
            )
        yield row[column]
    if not number:
        raise ValueError(no_rows(file))


def check_other_file(file: str, column: str, sample_by: str) -> None:
    """Raises as [`other_texts`] does at the first row, so that a stream is refused before it is read."""
    next(other_texts(file, column, sample_by))


def _unpacked(file: str, column: str, separator: str) -> Iterator[str]:
    try:
        yield from csv_texts(file, column, separator)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"The file {file} cannot be unpacked ({error}): write it again.") from error


def _rows(file: str, sample_by: str) -> Iterator[dict[str, Any]]:
    path = Path(file).absolute()
    options: dict[str, Any] = {}
    if ".txt" in path.suffixes:
        options = {"sample_by": sample_by, "keep_linebreaks": True}
    # streamed: the texts are kept by `built_once`, named by their contents, not by paths and dates
    yield from datasets.load_dataset(
        str(path.parent), data_files={"train": glob.escape(path.name)}, split="train", streaming=True, **options
    )


def _next(rows: Iterator[Any], file: str) -> Any:
    try:
        return next(rows, _END)
    except FileNotFoundError as error:  # for a kind that it does not know
        raise FileNotFoundError(
            f"{file} is or holds no file that is accepted: give .txt, .json, .csv, .parquet, or another kind that "
            "the library `datasets` reads."
        ) from error
    except _ERRORS as error:
        said = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
        raise ValueError(
            f"The library `datasets` cannot read the file {file} ({said}): write it again, or as one of .txt, .json, "
            ".csv and .parquet."
        ) from error
