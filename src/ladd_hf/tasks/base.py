"""Interface of tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..metrics.bootstrap import Estimate
from .decoded_texts import some_of


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
        of_data: computes the score of the data itself, where it is known without samples: an exact number.
        held_out: the held-out samples by which the data itself is scored: `all` of them; `as_many` as there are
            samples, if the score depends on their number; or as many of `other_half`, if samples are compared with one
            half of them.
    """

    name: str
    metric: str
    about: str
    of: Callable[[Any], Estimate | float]
    better: Literal["lower", "higher"] | None = None
    digits: int = 4
    of_data: Callable[[], Estimate] | None = None
    held_out: Literal["all", "as_many", "other_half"] = "all"

    @property
    def error_name(self) -> str:
        """Name of the standard error in judgements."""
        return f"{self.name}_stderr"


# Scores of some samples, by the names of the task's measures, and standard errors as `<name>_stderr` where known.
Judgement: TypeAlias = Mapping[str, float]


def judged(measures: Sequence[Measure], samples: Any) -> dict[str, float]:
    """Returns the score of samples by each measure, followed by its standard error where that is known."""
    return _scores((measure.name, measure.of(samples)) for measure in measures)


class HeldOut(Protocol):
    """Held-out samples, as measures take samples: a sequence of them that `some_of` can take a part of."""

    def held_out(self) -> Any:
        """Returns all of them."""

    def held_out_halves(self) -> tuple[Any, Any]:
        """Returns two halves of them that share none; samples are compared with the first."""


def judged_data(measures: Sequence[Measure], data: HeldOut, num_samples: int | None = None) -> dict[str, float]:
    """Returns the score of the data itself by each measure, as `judged` does: exact where that is known, else of
    held-out samples, as many as `num_samples` where a score depends on their number (see [`Measure`]); of as many as
    there are for `None`."""
    found: list[tuple[str, Estimate | float]] = []
    kept: dict[str, Any] = {}  # measures that are computed together know samples by their identity
    for one in measures:
        if one.of_data is not None:
            found.append((one.name, one.of_data()))
            continue
        if one.held_out not in kept:
            kept[one.held_out] = _beside(one, data, num_samples)
        found.append((one.name, one.of(kept[one.held_out])))
    return _scores(found)


def counts_of_data(measures: Sequence[Measure], data: HeldOut, num_samples: int | None = None) -> dict[str, int]:
    """Returns the number of held-out samples in the data's own score, by name of each measure that depends on it."""
    dependent = [one for one in measures if one.of_data is None and one.held_out != "all"]
    return {one.name: len(_beside(one, data, num_samples)) for one in dependent}


def _beside(measure: Measure, data: HeldOut, num_samples: int | None) -> Any:
    """Returns the held-out samples by which the data itself is scored."""
    if measure.held_out == "all":
        return data.held_out()
    pool = data.held_out_halves()[1] if measure.held_out == "other_half" else data.held_out()
    return pool if num_samples is None else some_of(pool, num_samples)


def _scores(found: Iterable[tuple[str, Estimate | float]]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for name, score in found:
        scores |= score.named(name) if isinstance(score, Estimate) else {name: score}
    return scores


def described_together(measures: Sequence[Measure]) -> str:
    """Describes the measures in one sentence."""
    first, *others = [measure.about for measure in measures]
    return f"{first}; beside it {', '.join(others)}." if others else f"{first}."


def described_counts(counts: Mapping[str, int], num_samples: int) -> str:
    """Says of how many texts the data's own scores are that depend on their number, in sentences that each begin with a
    space; empty if there are none."""
    told = ""
    for count in dict.fromkeys(counts.values()):
        names = ", ".join(name for name, of_it in counts.items() if of_it == count)
        told += f" Of the data itself {names}, which depend on the number of texts, are of {count:,}"
        fewer = num_samples and count < num_samples
        told += f": fewer than the {num_samples:,} samples, so that the two do not compare." if fewer else "."
    return told


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
    def num_held_out(self) -> int:
        """Number of held-out examples; of a source without end, as many as judges read."""

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

    def reference(self, num_samples: int | None = None) -> Judgement:
        """Returns the judgement of the data itself, to stand beside that of `num_samples` samples: measures that depend
        on their number are of as many held-out ones, if there are as many."""

    def reference_counts(self, num_samples: int | None = None) -> Mapping[str, int]:
        """Returns the number of held-out samples in the data's own score by each measure that depends on it."""

    def compare(self, baseline: Judgement, other: Judgement) -> float:
        """Returns the improvement of samples over a baseline's, as a share."""
