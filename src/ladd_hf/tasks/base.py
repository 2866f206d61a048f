"""The contract that every task keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Judgement:
    """What a judge says of samples.

    Attributes:
        nats: mean negative log-likelihood under the judge, in the task's unit; lower is more typical.
        entropy: mean unigram entropy of a sample's tokens in nats, or `None` where the judge is exact. Samples that
            repeat themselves have few nats and little entropy: neither figure means much without the other.
    """

    nats: float
    entropy: float | None = None


class Task(Protocol):
    """Data to train on, and a judge that no model had a part in.

    Attributes:
        name: such as `python-docs, length 64`; names the data set on cards.
        tokenizer: `None` where examples are ids and nothing else.
        length: S, tokens of an example.
        vocabulary: `vocab_size`, `mask_token_id` and such, for [`LaddConfig`].
        unit: of a judgement, such as `nats per token`.
        measure: what the judge is, in a sentence.
        comparison: what [`Task.compare`] gives, in a word.
    """

    name: str
    tokenizer: PreTrainedTokenizerBase | None
    length: int
    vocabulary: dict[str, int]
    unit: str
    measure: str
    comparison: str

    def train_dataset(self, num_examples: int, seed: int) -> Any:
        """What to train on, for a run that sees `num_examples` examples."""

    def eval_dataset(self, num_examples: int, seed: int) -> Any:
        """At most so many held-out examples."""

    def judge(self, sequences: Tensor) -> Judgement:
        """What the judge says of `(N, S)` sampled ids."""

    def reference(self) -> Judgement:
        """What the judge says of the data itself."""

    def compare(self, baseline: Judgement, other: Judgement) -> float:
        """How far samples are better or worse than a baseline's, as a share."""
