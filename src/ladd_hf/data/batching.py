"""Batches of texts bounded by their total size, so that memory does not depend on how long the texts are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MAX_TEXTS = 1000  # per batch
MAX_SIZE = 1 << 20  # bytes of a batch's texts, unless a single one has more


def batches_by_size(sizes: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Returns (first, end) of each batch of consecutive texts; `sizes` `(N,)` are their sizes in bytes."""
    total, first, batches = np.cumsum(sizes), 0, []
    while first < len(sizes):
        before = total[first] - sizes[first]
        fitting = int(np.searchsorted(total, before + MAX_SIZE, side="right"))
        end = min(max(fitting, first + 1), first + MAX_TEXTS, len(sizes))
        batches.append((first, end))
        first = end
    return batches


def batched_texts(groups: Iterable[Sequence[str | None]], max_texts: int = MAX_TEXTS) -> Iterator[list[str | None]]:
    """Joins groups of texts into batches; a batch ends with the group that reaches `max_texts` texts or `MAX_SIZE`
    characters."""
    held: list[str | None] = []
    size = 0
    for group in groups:
        held += group
        size += sum(len(text or "") for text in group)
        if len(held) >= max_texts or size >= MAX_SIZE:
            yield held
            held, size = [], 0
    if held:
        yield held


def text_sizes(column: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Returns the size in bytes of each text of a column, `(N,)`, 0 for a missing one, without reading the texts.

    Raises `ValueError` for a column of another type.
    """
    check_holds_texts(column.type)
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return np.concatenate([np.empty(0, np.int64), *map(_sizes, chunks)])


def check_holds_texts(kind: pa.DataType) -> None:
    """Raises `ValueError` unless a column of this type holds strings."""
    if not (is_text(kind) or pa.types.is_null(kind)):
        raise ValueError(f"The column to tokenize holds {kind}, but strings are accepted: name the one with the texts.")


def is_text(kind: pa.DataType) -> bool:
    """True if a column of this type holds strings."""
    strings = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind.value_type if pa.types.is_dictionary(kind) else kind) for test in strings)


def _sizes(chunk: pa.Array) -> NDArray[np.int64]:
    if pa.types.is_null(chunk.type):
        return np.zeros(len(chunk), np.int64)
    if pa.types.is_dictionary(chunk.type):
        sizes = pc.take(pa.array(_sizes(chunk.dictionary)), chunk.indices)
    else:
        texts = chunk.cast(pa.large_string()) if pa.types.is_string_view(chunk.type) else chunk
        sizes = pc.binary_length(texts)
    return np.asarray(sizes.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), np.int64)
