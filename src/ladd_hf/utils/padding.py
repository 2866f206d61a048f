"""Rows of different lengths as one tensor: each from the left, padding behind it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def padded(rows: Sequence[Tensor | Sequence[int]], filler: int = 0) -> Tensor:
    """Pads B rows of numbers to `(B, S)`, with S the longest length; lists as int64, tensors in their own dtype."""
    tensors = [row if isinstance(row, Tensor) else torch.tensor(row, dtype=torch.int64) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=filler)


def real_places(lengths: Sequence[int]) -> Tensor:
    """Returns the attention mask of padded rows of these lengths: `(B, S)` int64, 0 at padding."""
    places = torch.arange(max(lengths))
    return (places < torch.tensor(lengths)[:, None]).long()


def padded_texts(rows: Sequence[Sequence[int]], filler: int) -> tuple[Tensor, Tensor | None]:
    """Returns padded rows of ids and their attention mask, or `None` if no row is padded."""
    lengths = [len(row) for row in rows]
    return padded(rows, filler), real_places(lengths) if len(set(lengths)) > 1 else None
