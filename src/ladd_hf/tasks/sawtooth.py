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
from .base import Judgement, Measure, judged, judged_data
from .judges import JudgeSpec, measures_of

_REFERENCE_SEQUENCES = 4000


class SawtoothTask:
    """Sequences of the binary sawtooth of `length` tokens; see [`Task`].

    Args:
        length: S.
        judges: further ones beside the exact law, of those that need no texts, such as `distribution_distance`.
    """

    comparison = "closes"
    exact = True
    tokenizer = None
    judge_order = judge_characters = 0

    def __init__(self, length: int, judges: Sequence[JudgeSpec] = ()) -> None:
        self.length = length
        self.law = SawtoothDistribution(length)
        self.name = f"binary sawtooth, length {length}"
        self.vocabulary = {"vocab_size": self.law.vocab_size}
        self._further = measures_of(judges, self)

    @property
    def settings(self) -> dict[str, int]:
        """Number of the fresh sequences that further judges compare samples with."""
        return {"reference_sequences": _REFERENCE_SEQUENCES}

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The exact negative log-likelihood, and those of further judges."""
        about = "Negative log-likelihood in nats per token under the exact law of the data"
        exact = Measure("nats", "nats per token", about, self._nats_per_token, "lower", of_data=self._entropy_per_token)
        return exact, *self._further

    def train_dataset(self, num_examples: int, seed: int) -> datasets.Dataset:
        """Draws fresh sequences, each seen once."""
        return sawtooth_dataset(num_examples, self.length, seed)

    def eval_dataset(self, num_examples: int, seed: int) -> datasets.Dataset:
        """Draws sequences with another seed."""
        return sawtooth_dataset(num_examples, self.length, seed + 2**20)

    def judge(self, sequences: Tensor) -> Judgement:
        """Returns the exact negative log-likelihood, and the measures of further judges."""
        return judged(self.measures, sequences)

    def reference(self) -> Judgement:
        """Returns the entropy, and what further judges say of fresh sequences."""
        return self._reference

    @cached_property
    def _reference(self) -> Judgement:
        return judged_data(self.measures, self.held_out() if len(self.measures) > 1 else None)

    def compare(self, baseline: Judgement, other: Judgement) -> float:
        """Returns the share by which the baseline's distance to the entropy is reduced."""
        return gap_closed(baseline["nats"], other["nats"], self._entropy_per_token().value)

    def held_out(self) -> Tensor:
        """Returns 4,000 fresh sequences."""
        return self._sequences

    @cached_property
    def _sequences(self) -> Tensor:
        return torch.as_tensor(np.asarray(self.eval_dataset(_REFERENCE_SEQUENCES, 0)[:]["input_ids"], dtype=np.int64))

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
