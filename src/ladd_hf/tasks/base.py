"""Interface of tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from torch import Tensor
from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Measure:
    """A number that a task's judge finds of samples, with what tables and cards need to show it.

    Attributes:
        name: in judgements, results and tables, such as `entropy`.
        metric: the same in full, such as `unigram entropy in nats`.
        about: what it is, in the words of a sentence.
        of: finds it of the samples as the task reads them.
        better: which direction is; `None` where neither is by itself.
        digits: behind the point, in a printed table.
    """

    name: str
    metric: str
    about: str
    of: Callable[[Any], float]
    better: Literal["lower", "higher"] | None = None
    digits: int = 4


# The numbers of some samples, by the names of the task's measures.
Judgement: TypeAlias = Mapping[str, float]


def judged(measures: Sequence[Measure], samples: Any) -> dict[str, float]:
    """What each measure finds of samples."""
    return {measure.name: measure.of(samples) for measure in measures}


def described_together(measures: Sequence[Measure]) -> str:
    """What the measures are, in a sentence."""
    first, *others = [measure.about for measure in measures]
    return f"{first}; beside it {', '.join(others)}." if others else f"{first}."


class Task(Protocol):
    """Data to train on, and a judge that is independent of any trained model.

    Attributes:
        name: such as `python-docs, length 64`; names the data set on cards.
        tokenizer: `None` if examples are plain ids.
        length: S, tokens of an example.
        vocabulary: `vocab_size`, `mask_token_id` and such, for [`LaddConfig`].
        comparison: what [`Task.compare`] gives, in a word.
        exact: whether the judge is the law of the data, so that the reference is its entropy.
    """

    name: str
    tokenizer: PreTrainedTokenizerBase | None
    length: int
    vocabulary: dict[str, int]
    comparison: str
    exact: bool

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The numbers of a judgement: first the one that samples are compared by, then those to read beside it."""

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
