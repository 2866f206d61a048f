"""Diversity of a text's tokens, to be read with every likelihood of samples."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np


def unigram_entropy(sequences: Iterable[Any]) -> float:
    """Computes the mean entropy of the sequences' own token frequencies, in nats. Paper, section 9.

    Args:
        sequences: `(N, S)` ids, or a list of sequences of different lengths; empty ones are left out.

    Raises `ValueError` if there are no tokens.
    """
    entropies = [_entropy(np.sort(np.asarray(sequence).ravel())) for sequence in sequences if len(sequence)]
    if not entropies:
        raise ValueError("There are no sequences with tokens: give one or more.")
    return float(np.mean(entropies))


def _entropy(ordered: np.ndarray) -> float:
    edges = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1], True])
    p = np.array([end - start for start, end in pairwise(edges)]) / len(ordered)
    return float(-(p * np.log(p)).sum())
