"""Rows of a batch stand at its left, padding behind them, and the mask tells them apart."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ladd_hf.utils.padding import padded, padded_texts, real_places

ROWS = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=5)
FILLER = 11


@given(ROWS)
def test_the_rows_can_be_had_back(rows):
    batch, mask = padded_texts(rows, FILLER)
    assert batch.dtype == torch.int64 and batch.shape == (len(rows), max(map(len, rows)))
    real = torch.ones_like(batch) if mask is None else mask
    assert [ids[kept.bool()].tolist() for ids, kept in zip(batch, real, strict=True)] == rows
    assert (batch[~real.bool()] == FILLER).all()


@given(ROWS)
def test_there_is_a_mask_only_where_a_row_is_padded(rows):
    _, mask = padded_texts(rows, FILLER)
    lengths = list(map(len, rows))
    assert (mask is None) == (len(set(lengths)) == 1)
    assert torch.equal(real_places(lengths).sum(1), torch.tensor(lengths))


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bool])
def test_tensors_keep_their_dtype(dtype):
    batch = padded([torch.ones(2, dtype=dtype), torch.ones(3, dtype=dtype)], 0)
    assert batch.dtype == dtype and batch.tolist() == [[1, 1, 0], [1, 1, 1]]
