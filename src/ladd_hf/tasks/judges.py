"""Judges of samples by name: each is built from its options, and makes measures of what a task offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from transformers import PreTrainedTokenizerBase

from ..metrics.bootstrap import Estimate
from ..utils.registry import Registry, Spec
from .base import Measure

Entry = TypeVar("Entry")


class JudgedData(Protocol):
    """Interface of a task for its judges.

    Attributes:
        name: name of the data set.
        vocabulary: `vocab_size` and such.
        judge_order: characters of the longest n-gram of an n-gram judge that is given none.
        judge_characters: characters of the training texts that judges read at most.
    """

    name: str
    vocabulary: dict[str, int]
    judge_order: int
    judge_characters: int

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase | None:
        """The task's tokenizer, `None` if there are no texts."""

    def training_texts(self) -> Sequence[str]:
        """Returns training texts as the tokenizer gives them back, as many as judges are to read."""

    def training_ids(self) -> Iterable[Sequence[int]]:
        """Yields the ids of the same texts, one text after the other."""

    def held_out(self) -> Any:
        """Returns held-out samples, as measures take samples."""

    def held_out_halves(self) -> tuple[Any, Any]:
        """Returns two halves of them that share none."""


class Judge(Protocol):
    """Interface of a judge."""

    def measures(self, data: JudgedData) -> tuple[Measure, ...]:
        """Returns the judge's measures of samples of a task; models and texts are read where they are first used."""


# A judge in settings: its name, or `name` and options; in Python also the object itself.
JudgeSpec: TypeAlias = Spec | Judge

# Functions or classes that build a judge from its options, by name.
JUDGES: Registry[Callable[..., Judge]] = Registry(
    "judge",
    modules={
        "diversity": "variety_judges",
        "distribution_distance": "closeness_judges",
        "entropy": "variety_judges",
        "generative_perplexity": "likelihood_judges",
        "mauve": "closeness_judges",
        "memorization": "variety_judges",
        "ngram": "likelihood_judges",
    },
    package="ladd_hf.tasks",
)


def register_judge(name: str, entry: Any = None) -> Any:
    """Adds a judge of one's own, for `judges` of tasks and recipes, directly or as a decorator.

    Args:
        name: of the judge.
        entry: class or function whose arguments are the judge's options; it returns a [`Judge`].

    Raises `ValueError` for a name that is taken.
    """
    return JUDGES.register(name, entry)


def measures_of(judges: Sequence[JudgeSpec], data: JudgedData) -> tuple[Measure, ...]:
    """Returns the measures of all judges, in order.

    Raises `ValueError` for an unknown judge, for options that it does not take, for a judge that does not apply to the
    data, and for two measures of one name.
    """
    if isinstance(judges, str | Mapping) or not isinstance(judges, Sequence):
        raise ValueError(f"`judges` is {judges!r}; give a list of judges, such as ['ngram', 'entropy'].")
    built = [one if hasattr(one, "measures") else JUDGES.build(one) for one in judges]
    measures = tuple(measure for judge in built for measure in judge.measures(data))
    names = [measure.name for measure in measures]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(
            f"Two judges have a measure {twice[0]!r}: leave one out, or give it another `label`, if it has that option."
        )
    return measures


def check_texts(name: str, data: JudgedData) -> None:
    """Raises `ValueError` for data without texts."""
    if data.tokenizer is None:
        raise ValueError(f"The judge {name!r} reads texts, and {data.name} has none: leave it out.")


class Together:
    """Scores of samples that are computed together, kept for the measures that ask for them one by one.

    Args:
        compute: maps samples to scores by name.
    """

    def __init__(self, compute: Callable[[Any], Mapping[str, Estimate]]) -> None:
        self._compute = compute
        self._samples: Any = None
        self._scores: Mapping[str, Estimate] = {}

    def of(self, name: str) -> Callable[[Any], Estimate]:
        """Returns the function that scores samples by one of them."""

        def score(samples: Any) -> Estimate:
            if samples is not self._samples:
                self._scores, self._samples = self._compute(samples), samples
            return self._scores[name]

        return score
