"""Rows of different lengths as one tensor: each from the left, padding behind it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def padded(rows: Sequence[Tensor | Sequence[int]], filler: int = 0) -> Tensor:
    """`(B, S)` of B rows of numbers, S the longest one's; lists as int64, tensors in their own dtype."""
    tensors = [row if isinstance(row, Tensor) else torch.tensor(row, dtype=torch.int64) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=filler)


def real_places(lengths: Sequence[int]) -> Tensor:
    """The attention mask of padded rows of these lengths: `(B, S)` int64, 0 at padding."""
    places = torch.arange(max(lengths))
    return (places < torch.tensor(lengths)[:, None]).long()


def padded_texts(rows: Sequence[Sequence[int]], filler: int) -> tuple[Tensor, Tensor | None]:
    """The rows of ids as `padded`, and their attention mask, `None` where none of them is padded."""
    lengths = [len(row) for row in rows]
    return padded(rows, filler), real_places(lengths) if len(set(lengths)) > 1 else None
