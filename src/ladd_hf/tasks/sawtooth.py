"""The binary sawtooth: fresh sequences, judged by its exact likelihood. Paper, synthetic experiment."""

from __future__ import annotations

import datasets
from torch import Tensor

from ..data import SawtoothDistribution, sawtooth_dataset
from ..metrics import gap_closed
from .base import Judgement, Measure, judged


class SawtoothTask:
    """Sequences of the binary sawtooth of `length` tokens; see [`Task`]."""

    comparison = "closes"
    exact = True
    tokenizer = None

    def __init__(self, length: int) -> None:
        self.length = length
        self.law = SawtoothDistribution(length)
        self.name = f"binary sawtooth, length {length}"
        self.vocabulary = {"vocab_size": self.law.vocab_size}

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The exact negative log-likelihood."""
        about = "Negative log-likelihood in nats per token under the exact law of the data"
        return (Measure("nats", "nats per token", about, self._nats_per_token, "lower"),)

    def train_dataset(self, num_examples: int, seed: int) -> datasets.Dataset:
        """Draws fresh sequences, each seen once."""
        return sawtooth_dataset(num_examples, self.length, seed)

    def eval_dataset(self, num_examples: int, seed: int) -> datasets.Dataset:
        """Draws sequences with another seed."""
        return sawtooth_dataset(num_examples, self.length, seed + 2**20)

    def judge(self, sequences: Tensor) -> Judgement:
        """Returns the exact negative log-likelihood."""
        return judged(self.measures, sequences)

    def reference(self) -> Judgement:
        """Returns the entropy."""
        return {"nats": self.law.entropy().nats / self.length}

    def compare(self, baseline: Judgement, other: Judgement) -> float:
        """Returns the share by which the baseline's distance to the entropy is reduced."""
        return gap_closed(baseline["nats"], other["nats"], self.reference()["nats"])

    def _nats_per_token(self, sequences: Tensor) -> float:
        return -float(self.law.log_likelihood(sequences.numpy()).mean()) / self.length
