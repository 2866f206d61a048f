"""Interface of tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Judgement:
    """A judge's scores of samples.

    Attributes:
        nats: mean negative log-likelihood under the judge, in the task's unit; lower is more typical.
        entropy: mean unigram entropy of a sample's tokens in nats, or `None` if the judge is exact. Repetitive samples
            have few nats and little entropy: neither number is meaningful alone.
    """

    nats: float
    entropy: float | None = None


class Task(Protocol):
    """Data to train on, and a judge that is independent of any trained model.

    Attributes:
        name: such as `python-docs, length 64`; names the data set on cards.
        tokenizer: `None` if examples are plain ids.
        length: S, tokens of an example.
        vocabulary: `vocab_size`, `mask_token_id` and such, for [`LaddConfig`].
        unit: of a judgement, such as `nats per token`.
        measure: description of the judge, in a sentence.
        comparison: name of what [`Task.compare`] returns, in a word.
    """

    name: str
    tokenizer: PreTrainedTokenizerBase | None
    length: int
    vocabulary: dict[str, int]
    unit: str
    measure: str
    comparison: str

    def train_dataset(self, num_examples: int, seed: int) -> Any:
        """Returns the training data, for a run of `num_examples` examples."""

    def eval_dataset(self, num_examples: int, seed: int) -> Any:
        """Returns at most so many held-out examples."""

    def judge(self, sequences: Tensor) -> Judgement:
        """Judges `(N, S)` sampled ids."""

    def reference(self) -> Judgement:
        """Returns the judgement of the data itself."""

    def compare(self, baseline: Judgement, other: Judgement) -> float:
        """Returns the improvement of samples over a baseline's, as a share."""
