"""Diversity of samples: distinct n-grams, and self-BLEU.

`evaluate.load("<this file>", module_type="measurement")` reads the imports line by line: no import spans two lines.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import chain
from typing import Any

import evaluate
import numpy as np
from numpy.typing import NDArray

from ladd_hf.metrics.bootstrap import Estimate, bootstrap_ratio, held_by_one, jackknife
from ladd_hf.metrics.measurement_info import IDS, TEXT, measurement_info
from ladd_hf.utils.number_ranges import COUNT, SEED
from ladd_hf.utils.optional_packages import optional_package

_DESCRIPTION = """\
Distinct-n, the share of different n-grams among all n-grams of the samples, and self-BLEU, the mean BLEU of a sample \
with the other ones as references.
"""

_INPUTS_DESCRIPTION = """\
Args:
    data: texts, whose units are their characters, or sequences of ids.

Returns:
    distinct_1, ..., distinct_4: shares of different n-grams of all samples together.
    distinct_1_stderr, ...: their standard errors, a jackknife over samples.
    self_bleu: from 0 to 1; high for samples that are alike.
    self_bleu_stderr: its standard error, a bootstrap over the samples compared, the references being the same.
    samples: number of sequences.
    self_bleu_samples: number of them that are compared with each other.

All of these depend on the number and lengths of the samples.
"""

_CITATION = """\
@inproceedings{zhu2018texygen,
    title = {Texygen: A Benchmarking Platform for Text Generation Models},
    author = {Zhu, Yaoming and Lu, Sidi and Zheng, Lei and Guo, Jiaxian and Zhang, Weinan and Wang, Jun and Yu, Yong},
    booktitle = {SIGIR},
    year = {2018}
}
"""

Sequences = Sequence[Sequence[Hashable]]


def distinct(sequences: Sequences, order: int) -> Estimate:
    """Computes distinct-n: the number of different n-grams divided by the number of all, over the samples together.

    Its standard error is a jackknife over samples: in a bootstrap a sample drawn twice would have nothing new.

    Args:
        sequences: N sequences of characters, ids or words; n-grams do not cross from one to the next.
        order: n.

    Raises `ValueError` if no sequence has n units, and for an order below 1.
    """
    COUNT.check("order", order)
    samples, grams = _ngrams(_numbered(sequences), order)
    if not len(grams):
        raise ValueError(f"No sequence has {order} units or more: there are no n-grams of this order.")
    different, own = len(np.unique(grams)), held_by_one(samples, grams, len(sequences))
    total = np.bincount(samples, minlength=len(sequences))
    value, counted = different / len(grams), total > 0
    left = len(grams) - total[counted]
    if not (left > 0).all():  # a single sample has them all
        return Estimate(value)
    return jackknife(value, (different - own[counted]) / left)


def _numbered(sequences: Sequences) -> list[NDArray[np.int64]]:
    """Returns the sequences with their units as numbers, in the order of first occurrence."""
    numbers: dict[Hashable, int] = {}
    for unit in chain.from_iterable(sequences):
        numbers.setdefault(unit, len(numbers))
    return [np.array([numbers[unit] for unit in sequence], dtype=np.int64) for sequence in sequences]


def _ngrams(rows: list[NDArray[np.int64]], order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the sample and the number of each n-gram, both `(n-grams,)`; equal n-grams have equal numbers."""
    samples = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    units = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
    base, grams = int(units.max(initial=0)) + 1, units
    for length in range(2, order + 1):
        keys = grams[:-1] * base + units[length - 1 :]  # below (number of units)^2
        whole = samples[: len(keys)] == samples[length - 1 :]
        grams = np.full(len(keys), -1)
        grams[whole] = np.unique(keys[whole], return_inverse=True)[1]
    whole = samples[: len(grams)] == samples[order - 1 :][: len(grams)]
    return samples[: len(grams)][whole], grams[whole]


def self_bleu(sequences: Sequences, num_samples: int = 100, seed: int = 0) -> Estimate:
    """Computes self-BLEU, from 0 to 1: the mean sentence BLEU-4 of samples, each with the others as references.

    By `sacrebleu`, with its exponential smoothing and, for samples shorter than 4 units, the orders that they have.

    Args:
        sequences: N sequences of characters, ids or words; empty ones are left out.
        num_samples: samples that are compared with each other, drawn without replacement if there are more: the time
            grows with their square, and the score with their number.
        seed: of this draw.

    Raises `ValueError` for fewer than 2 samples; `ImportError` without the package `sacrebleu`.
    """
    COUNT.check("num_samples", num_samples)
    SEED.check("seed", seed)
    rows = [row for row in _numbered(sequences) if len(row)]
    if min(len(rows), num_samples) < 2:
        raise ValueError(
            f"Self-BLEU compares samples with each other: got {len(rows)} and `num_samples` {num_samples}."
        )
    if len(rows) > num_samples:
        places = np.sort(np.random.default_rng(seed).choice(len(rows), num_samples, replace=False))
        rows = [rows[place] for place in places]
    package = optional_package("sacrebleu", "sacrebleu", "judges", "Self-BLEU")
    bleu = package.metrics.BLEU(tokenize="none", effective_order=True)
    texts = [" ".join(map(str, row)) for row in rows]  # units as words of a language that sacrebleu leaves alone
    scores = [bleu.sentence_score(text, texts[:place] + texts[place + 1 :]).score for place, text in enumerate(texts)]
    return bootstrap_ratio(np.array(scores) / 100)


class Diversity(evaluate.Measurement):
    """Distinct-n for n of `orders` and self-BLEU: `Diversity().compute(data=texts)`.

    Args:
        orders: those of distinct-n.
        self_bleu_samples: see [`self_bleu`]; 0 leaves it out.
        seed: of the draw of these.
    """

    def __init__(
        self, orders: Sequence[int] = (1, 2, 3, 4), self_bleu_samples: int = 100, seed: int = 0, **kwargs: Any
    ) -> None:
        self.orders, self.self_bleu_samples, self.draw = orders, self_bleu_samples, seed
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MeasurementInfo:
        return measurement_info(_DESCRIPTION, _INPUTS_DESCRIPTION, TEXT, IDS, citation=_CITATION)

    def _compute(self, data: Sequence[Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for order in self.orders:
            found |= distinct(data, order).named(f"distinct_{order}")
        if self.self_bleu_samples:
            found |= self_bleu(data, self.self_bleu_samples, self.draw).named("self_bleu")
            found["self_bleu_samples"] = min(self.self_bleu_samples, sum(len(row) > 0 for row in data))
        return {**found, "samples": len(data)}
