"""The binary sawtooth: fresh sequences, judged by its exact likelihood. Paper, synthetic experiment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NoReturn

import datasets
import numpy as np
import torch
from torch import Tensor

from ..data import SawtoothDistribution, sawtooth_dataset
from ..metrics import gap_closed
from ..metrics.bootstrap import Estimate, bootstrap_ratio
from .base import Judgement, Measure, counts_of_data, judged, judged_data
from .judges import JudgeSpec, measures_of

JUDGE_HELD_OUT = 4000


class SawtoothTask:
    """Sequences of the binary sawtooth of `length` tokens; see [`Task`].

    Args:
        length: S.
        judges: further ones beside the exact law, of those that need no texts, such as `distribution_distance`.
        judge_held_out: number of fresh sequences for these; twice that of the samples lets the data be scored by as
            many, also where samples are compared with one half of them.
    """

    comparison = "closes"
    exact = True
    tokenizer = None
    judge_order = judge_characters = 0

    def __init__(self, length: int, judges: Sequence[JudgeSpec] = (), judge_held_out: int = JUDGE_HELD_OUT) -> None:
        self.length = length
        self.law = SawtoothDistribution(length)
        self.name = f"binary sawtooth, length {length}"
        self.vocabulary = {"vocab_size": self.law.vocab_size}
        self.judge_held_out = judge_held_out
        self._references: dict[int | None, Judgement] = {}
        self._further = measures_of(judges, self)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The exact negative log-likelihood, and those of further judges."""
        about = "Negative log-likelihood in nats per token under the exact law of the data"
        exact = Measure("nats", "nats per token", about, self._nats_per_token, "lower", of_data=self._entropy_per_token)
        return exact, *self._further

    @property
    def num_held_out(self) -> int:
        """Number of fresh sequences that judges read, of as many as are asked for."""
        return self.judge_held_out

    def train_dataset(self, num_examples: int, seed: int) -> datasets.Dataset:
        """Draws fresh sequences, each seen once."""
        return sawtooth_dataset(num_examples, self.length, seed)

    def eval_dataset(self, num_examples: int, seed: int) -> datasets.Dataset:
        """Draws sequences with another seed."""
        return sawtooth_dataset(num_examples, self.length, seed + 2**20)

    def judge(self, sequences: Tensor) -> Judgement:
        """Returns the exact negative log-likelihood, and the measures of further judges."""
        return judged(self.measures, sequences)

    def reference(self, num_samples: int | None = None) -> Judgement:
        """Returns the entropy, and what further judges say of fresh sequences, beside `num_samples` samples; see
        [`Task`]."""
        if num_samples not in self._references:
            self._references[num_samples] = judged_data(self.measures, self, num_samples)
        return self._references[num_samples]

    def reference_counts(self, num_samples: int | None = None) -> dict[str, int]:
        """Returns the number of fresh sequences that each measure which depends on it is given; see [`Task`]."""
        return counts_of_data(self.measures, self, num_samples)

    def compare(self, baseline: Judgement, other: Judgement) -> float:
        """Returns the share by which the baseline's distance to the entropy is reduced."""
        return gap_closed(baseline["nats"], other["nats"], self._entropy_per_token().value)

    def held_out(self) -> Tensor:
        """Returns `judge_held_out` fresh sequences."""
        return self._sequences

    @cached_property
    def _sequences(self) -> Tensor:
        return torch.as_tensor(np.asarray(self.eval_dataset(self.judge_held_out, 0)[:]["input_ids"], dtype=np.int64))

    def held_out_halves(self) -> tuple[Tensor, Tensor]:
        """Returns two halves of them."""
        return self.held_out()[::2], self.held_out()[1::2]

    def training_texts(self) -> NoReturn:
        """Raises `ValueError`: there are no texts."""
        raise ValueError("The sawtooth has no texts: give judges that need none, such as 'distribution_distance'.")

    training_ids = training_texts

    def _nats_per_token(self, sequences: Tensor) -> Estimate:
        return bootstrap_ratio(-self.law.log_likelihood(sequences.numpy()) / self.length)

    def _entropy_per_token(self) -> Estimate:
        entropy = self.law.entropy()
        return Estimate(entropy.nats / self.length, entropy.standard_error / self.length)
