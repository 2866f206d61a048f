"""Diversity of a text's tokens, to be read with every likelihood of samples.

`evaluate.load("<this file>", module_type="measurement")` reads the imports line by line: no import spans two lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import evaluate
import numpy as np
from numpy.typing import NDArray

from ladd_hf.metrics.bootstrap import bootstrap_ratio
from ladd_hf.metrics.measurement_info import IDS, TEXT, measurement_info

_DESCRIPTION = """\
The entropy of each sequence's own token frequencies, in nats, averaged over sequences.
"""

_INPUTS_DESCRIPTION = """\
Args:
    data: sequences of ids, or texts, whose tokens are their characters; one at least is not empty.

Returns:
    unigram_entropy: mean over the sequences that are not empty.
    unigram_entropy_stderr: its standard error, a bootstrap over sequences; left out for a single one.
"""


def unigram_entropies(sequences: Iterable[Any]) -> NDArray[np.float64]:
    """Computes the entropy of each sequence's own token frequencies, in nats: `(N,)`. Paper, section 9.

    Args:
        sequences: `(N, S)` ids, or a list of sequences of different lengths; empty ones are left out.

    Raises `ValueError` if there are no tokens.
    """
    entropies = [_entropy(np.sort(np.asarray(sequence).ravel())) for sequence in sequences if len(sequence)]
    if not entropies:
        raise ValueError("There are no sequences with tokens: give one or more.")
    return np.array(entropies)


def unigram_entropy(sequences: Iterable[Any]) -> float:
    """Computes the mean of [`unigram_entropies`]."""
    return float(np.mean(unigram_entropies(sequences)))


def _entropy(ordered: np.ndarray) -> float:
    edges = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1], True])
    p = np.array([end - start for start, end in pairwise(edges)]) / len(ordered)
    return float(-(p * np.log(p)).sum())


class UnigramEntropy(evaluate.Measurement):
    """Mean of [`unigram_entropies`], through `evaluate`.

    `UnigramEntropy().compute(data=texts)` takes strings, measured by characters, or lists of ids, and returns
    `unigram_entropy` and `unigram_entropy_stderr`.
    """

    def _info(self) -> evaluate.MeasurementInfo:
        return measurement_info(_DESCRIPTION, _INPUTS_DESCRIPTION, TEXT, IDS)

    def _compute(self, data: Sequence[Any]) -> dict[str, float]:
        rows = [list(row) if isinstance(row, str) else row for row in data]
        return bootstrap_ratio(unigram_entropies(rows)).named("unigram_entropy")
