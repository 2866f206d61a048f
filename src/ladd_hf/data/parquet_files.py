"""Parquet files: what is wrong with one is said with its name."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ladd_hf.data.json_files import missing_column, no_rows


def check_parquet_file(path: Path, column: str) -> None:
    """Raises `ValueError` for a file that is no parquet file, or has no rows, or no texts in `column`.

    Only its footer is read.
    """
    try:
        with pq.ParquetFile(path) as file:
            rows, schema = file.metadata.num_rows, file.schema_arrow
    except pa.ArrowInvalid as error:
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


def find_damage(files: list[Path], column: str) -> ValueError | None:
    """What is wrong with the first of these files that can not be read to its end."""
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                for _ in file.iter_batches(columns=[column]):
                    pass
        except (pa.ArrowInvalid, OSError) as error:
            return _damaged(path, error)
    return None


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings."""
    strings = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind.value_type if pa.types.is_dictionary(kind) else kind) for test in strings)


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"The file {path} is no parquet file, or a damaged one ({error}): write or download it again.")
