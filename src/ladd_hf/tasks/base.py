"""Interface of tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from torch import Tensor
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Measure:
    """A score that a task's judge computes from samples, with its description for tables and model cards.

    Attributes:
        name: short name in judgements, results and tables, such as `entropy`.
        metric: full name, such as `unigram entropy in nats`.
        about: definition, as part of a sentence.
        of: computes the score of samples in the task's format.
        better: the better direction; `None` if neither is better by itself.
        digits: number of decimals in printed tables.
    """

    name: str
    metric: str
    about: str
    of: Callable[[Any], float]
    better: Literal["lower", "higher"] | None = None
    digits: int = 4


# Scores of some samples, by the names of the task's measures.
Judgement: TypeAlias = Mapping[str, float]


def judged(measures: Sequence[Measure], samples: Any) -> dict[str, float]:
    """Returns the score of samples by each measure."""
    return {measure.name: measure.of(samples) for measure in measures}


def described_together(measures: Sequence[Measure]) -> str:
    """Describes the measures in one sentence."""
    first, *others = [measure.about for measure in measures]
    return f"{first}; beside it {', '.join(others)}." if others else f"{first}."


class Task(Protocol):
    """Data to train on, and a judge that is independent of any trained model.

    Attributes:
        name: name of the data set on model cards, such as `python-docs, length 64`.
        tokenizer: `None` if examples are plain ids.
        length: number S of tokens of an example.
        vocabulary: `vocab_size`, `mask_token_id` and such, for [`LaddConfig`].
        comparison: short name of the result of [`Task.compare`].
        exact: True if the judge is the exact distribution of the data, so that the reference is its entropy.
    """

    name: str
    tokenizer: PreTrainedTokenizerBase | None
    length: int
    vocabulary: dict[str, int]
    comparison: str
    exact: bool

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Measures of a judgement: first the one used to compare samples, then the additional ones."""

    def train_dataset(self, num_examples: int, seed: int) -> Any:
        """Returns the training data, for a run of `num_examples` examples."""

    def eval_dataset(self, num_examples: int, seed: int) -> Any:
        """Returns at most `num_examples` held-out examples."""

    def judge(self, sequences: Tensor) -> Judgement:
        """Judges `(N, S)` sampled ids."""

    def reference(self) -> Judgement:
        """Returns the judgement of the data itself."""

    def compare(self, baseline: Judgement, other: Judgement) -> float:
        """Returns the improvement of samples over a baseline's, as a share."""
