"""The binary sawtooth: fresh sequences, judged by its exact likelihood. Paper, synthetic experiment."""

from __future__ import annotations

import datasets
from torch import Tensor

from ..data import SawtoothDistribution, sawtooth_dataset
from ..metrics import gap_closed
from .base import Judgement


class SawtoothTask:
    """Sequences of the binary sawtooth of `length` tokens; see [`Task`]."""

    unit = "nats per token"
    measure = "Negative log-likelihood in nats per token under the exact law of the data."
    comparison = "closes"
    tokenizer = None

    def __init__(self, length: int) -> None:
        self.length = length
        self.law = SawtoothDistribution(length)
        self.name = f"binary sawtooth, length {length}"
        self.vocabulary = {"vocab_size": self.law.vocab_size}

    def train_dataset(self, num_examples: int, seed: int) -> datasets.Dataset:
        """Draws fresh sequences, each seen once."""
        return sawtooth_dataset(num_examples, self.length, seed)

    def eval_dataset(self, num_examples: int, seed: int) -> datasets.Dataset:
        """Draws sequences with another seed."""
        return sawtooth_dataset(num_examples, self.length, seed + 2**20)

    def judge(self, sequences: Tensor) -> Judgement:
        """Computes the exact negative log-likelihood."""
        return Judgement(-float(self.law.log_likelihood(sequences.numpy()).mean()) / self.length)

    def reference(self) -> Judgement:
        """Returns the entropy."""
        return Judgement(self.law.entropy().nats / self.length)

    def compare(self, baseline: Judgement, other: Judgement) -> float:
        """Returns the share of the baseline's distance to the entropy that is closed."""
        return gap_closed(baseline.nats, other.nats, self.reference().nats)
