"""Interface of tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..metrics.bootstrap import Estimate


@dataclass(frozen=True)
class Measure:
    """A score that a task's judge computes from samples, with its description for tables and model cards.

    Attributes:
        name: short name in judgements, results and tables, such as `entropy`.
        metric: full name, such as `unigram entropy in nats`.
        about: definition, as part of a sentence.
        of: computes the score of samples in the task's format, with its standard error ([`Estimate`]), or as a plain
            number.
        better: the better direction; `None` if neither is better by itself.
        digits: number of decimals in printed tables.
        of_data: computes the score of the data itself, where it is not that of held-out samples: an exact number, or a
            distance between two halves of the data.
    """

    name: str
    metric: str
    about: str
    of: Callable[[Any], Estimate | float]
    better: Literal["lower", "higher"] | None = None
    digits: int = 4
    of_data: Callable[[], Estimate] | None = None

    @property
    def error_name(self) -> str:
        """Name of the standard error in judgements."""
        return f"{self.name}_stderr"


# Scores of some samples, by the names of the task's measures, and standard errors as `<name>_stderr` where known.
Judgement: TypeAlias = Mapping[str, float]


def judged(measures: Sequence[Measure], samples: Any) -> dict[str, float]:
    """Returns the score of samples by each measure, followed by its standard error where that is known."""
    return _scores((measure.name, measure.of(samples)) for measure in measures)


def judged_data(measures: Sequence[Measure], held_out: Any) -> dict[str, float]:
    """Returns the score of the data itself by each measure, as `judged` does: of the held-out samples, unless a measure
    has a rule of its own (`of_data`)."""
    return _scores((one.name, one.of_data() if one.of_data else one.of(held_out)) for one in measures)


def _scores(found: Iterable[tuple[str, Estimate | float]]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for name, score in found:
        scores |= score.named(name) if isinstance(score, Estimate) else {name: score}
    return scores


def described_together(measures: Sequence[Measure]) -> str:
    """Describes the measures in one sentence."""
    first, *others = [measure.about for measure in measures]
    return f"{first}; beside it {', '.join(others)}." if others else f"{first}."


def relative_change(measure: str, baseline: float, other: float) -> float:
    """Returns the relative difference of two scores, -0.2 is 20% lower; of `nats`, that of the perplexities.

    Raises `ValueError` for a baseline of 0.
    """
    if measure == "nats":
        return math.expm1(other - baseline)
    if baseline == 0:
        raise ValueError(f"The baseline's {measure} is 0, to which no score is relative: put another judge first.")
    return other / baseline - 1


class Task(Protocol):
    """Data to train on, and a judge that is independent of any trained model.

    Attributes:
        name: name of the data set on model cards, such as `python-docs, length 64`.
        length: number S of tokens of an example.
        vocabulary: `vocab_size`, `mask_token_id` and such, for [`LaddConfig`].
        exact: True if the judge is the exact distribution of the data, so that the reference is its entropy.
    """

    name: str
    length: int
    vocabulary: dict[str, int]
    exact: bool

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that the task's texts depend on besides its name and length, as plain data: two evaluations with other
        settings are not comparable."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The task's tokenizer, `None` if examples are plain ids."""

    @property
    def comparison(self) -> str:
        """Short name of the result of [`Task.compare`]."""

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
