"""Texts in parquet files; errors name the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from . import batching
from .batching import is_text
from .json_files import missing_column, no_rows

# pyarrow's errors for a damaged file, and for invalid texts in it.
_ERRORS = (pa.ArrowException, OSError, UnicodeDecodeError)


def parquet_texts(path: str, column: str) -> Iterator[str | None]:
    """Yields the texts of a file, read a few at a time. Raises `ValueError` for a damaged file."""
    try:
        with pq.ParquetFile(path) as file:
            chunks = [_chunks(file, group, column) for group in range(file.metadata.num_row_groups)]
        # keep a repeated text as one: a small file may hold it thousands of times
        repeated = all(_is_small_dictionary(chunk) for of_group in chunks for chunk in of_group)
        with pq.ParquetFile(path, read_dictionary=[column] if repeated else []) as file:
            for group, mine in enumerate(chunks):
                for batch in file.iter_batches(_rows_at_once(mine), row_groups=[group], columns=[column]):
                    for text in batch.column(0):
                        yield text.as_py()
    except _ERRORS as error:
        raise _damaged(path, error) from error


def check_parquet_file(path: Path, column: str) -> int:
    """Returns the number of rows. Raises `ValueError` for a file that is not parquet, has no rows, or has no texts in
    `column`.

    Only its footer is read.
    """
    try:
        with pq.ParquetFile(path) as file:
            rows, schema = int(file.metadata.num_rows), file.schema_arrow
    except _ERRORS as error:
        raise _damaged(path, error) from error
    if not rows:
        raise ValueError(no_rows(str(path)))
    if column not in schema.names:
        raise ValueError(missing_column(str(path), column, schema.names))
    if not is_text(kind := schema.field(column).type):
        raise ValueError(
            f"The column {column!r} of {path} holds {kind}, but strings are accepted: name the one with the texts "
            "(`text_column`)."
        )
    return rows


def _chunks(file: pq.ParquetFile, group: int, column: str) -> list[Any]:
    """Returns the metadata of the chunks that store a row group's texts."""
    stored = file.metadata.row_group(group)
    columns = [stored.column(number) for number in range(stored.num_columns)]
    return [chunk for chunk in columns if chunk.path_in_schema == column]


def _is_small_dictionary(chunk: Any) -> bool:
    """True if texts are stored as indices into a dictionary of distinct ones, which is small in total."""
    return "RLE_DICTIONARY" in chunk.encodings and chunk.total_uncompressed_size <= 16 * batching.MAX_SIZE


def _rows_at_once(chunks: list[Any]) -> int:
    """Returns the number of rows of a row group to read at once, so that their texts have about the size of a batch."""
    size, rows = (sum(getattr(chunk, name) for chunk in chunks) for name in ("total_uncompressed_size", "num_values"))
    # delta encoding stores only what differs, so each text may be as long as all that is stored
    each = size if any("DELTA_BYTE_ARRAY" in chunk.encodings for chunk in chunks) else size / max(1, rows)
    return int(min(max(1, batching.MAX_SIZE // max(1, each)), batching.MAX_TEXTS))


def _damaged(path: str | Path, error: Exception) -> ValueError:
    return ValueError(f"The file {path} is no parquet file, or a damaged one ({error}): write or download it again.")
