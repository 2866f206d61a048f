"""Unigram entropy: of each sequence's own tokens, averaged."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ladd_hf.metrics import unigram_entropy


def test_it_is_the_mean_entropy_of_each_sequences_frequencies():
    assert unigram_entropy([[1, 1, 1, 1]]) == 0
    assert unigram_entropy([[1, 2, 3, 4]]) == pytest.approx(math.log(4))
    assert unigram_entropy([[1, 1, 2, 2], [3, 3, 3, 3]]) == pytest.approx(math.log(2) / 2)


def test_it_takes_arrays_tensors_and_characters():
    rows = np.random.default_rng(0).integers(0, 5, (6, 20))
    expected = unigram_entropy(rows)
    assert unigram_entropy(torch.from_numpy(rows)) == expected
    assert unigram_entropy([["abcde"[token] for token in row] for row in rows]) == pytest.approx(expected)


def test_sequences_may_differ_in_length_and_empty_ones_do_not_count():
    assert unigram_entropy([[1, 2], [], [3, 3, 3]]) == pytest.approx(math.log(2) / 2)


def test_nothing_to_measure_is_refused():
    with pytest.raises(ValueError, match="no sequences with tokens"):
        unigram_entropy([[], []])
