"""Measures of a model on held-out texts, by name: what trainers and evaluations take as `measures`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from ..utils.registry import Registry, Spec
from .bootstrap import Estimate
from .clean_batches import Batch


@dataclass(frozen=True)
class ModelNumber:
    """A number of a measure.

    Attributes:
        name: short name in metrics and results, such as `codes_dead`.
        metric: full name, such as `codes that do not occur`.
        better: the better direction; `None` if neither is better by itself.
        digits: number of decimals in printed tables.
    """

    name: str
    metric: str
    better: Literal["lower", "higher"] | None = None
    digits: int = 4


class ModelMeasure(Protocol):
    """Interface of a measure of a model on held-out texts.

    Attributes:
        name: of the measure.
        about: definition, as part of a sentence, with all options that its numbers depend on.
        numbers: that it computes, in order.
    """

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> str: ...

    @property
    def numbers(self) -> tuple[ModelNumber, ...]: ...

    def lacking(self, config: Any) -> str | None:
        """Returns what a model of this configuration lacks to be measured, such as `codes`; `None` if nothing."""

    def scores(self, model: Any, batches: Iterable[Batch]) -> Mapping[str, Estimate]:
        """Returns the numbers by name. Every process that holds a part of the weights has to call it, with the same
        texts."""


# A measure in settings: its name, or `name` and options; in Python also the object itself.
ModelMeasureSpec: TypeAlias = Spec | ModelMeasure

# Functions or classes that build a measure from its options, by name.
MODEL_MEASURES: Registry[Callable[..., ModelMeasure]] = Registry(
    "measure",
    modules={"code_usage": "latent_measures", "latent_usefulness": "latent_measures"},
    package="ladd_hf.metrics",
)


def register_model_measure(name: str, entry: Any = None) -> Any:
    """Adds a measure of one's own, for `measures` of trainers and evaluations, directly or as a decorator.

    Args:
        name: of the measure.
        entry: class or function whose arguments are the measure's options; it returns a [`ModelMeasure`].

    Raises `ValueError` for a name that is taken.
    """
    return MODEL_MEASURES.register(name, entry)


def model_measures(specs: Sequence[ModelMeasureSpec]) -> tuple[ModelMeasure, ...]:
    """Returns the measures, in order.

    Raises `ValueError` for anything but a list, for an unknown measure, for options that it does not take, and for two
    with a number of one name.
    """
    if isinstance(specs, str | Mapping) or not isinstance(specs, Sequence):
        raise ValueError(f"`measures` is {specs!r}; give a list of measures, such as ['code_usage'].")
    measures: tuple[Any, ...] = tuple(one if hasattr(one, "scores") else MODEL_MEASURES.build(one) for one in specs)
    names = [number.name for measure in measures for number in measure.numbers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"Two of `measures` have a number {twice[0]!r}: give each measure once.")
    return measures


def check_measurable(measures: Iterable[ModelMeasure], config: Any) -> None:
    """Raises `ValueError` for the first measure that a model of this configuration lacks something for."""
    for measure in measures:
        if (lacking := measure.lacking(config)) is not None:
            raise ValueError(
                f"`measures` holds {measure.name!r}, but the model has no {lacking} (`latent_type` "
                f"{config.latent_type!r}): leave it out."
            )


def measured(measure: ModelMeasure, scores: Mapping[str, Estimate]) -> dict[str, Any]:
    """Returns a measure's scores with their definition, as plain data for results and tables."""
    numbers = [{key: getattr(one, key) for key in ("name", "metric", "better", "digits")} for one in measure.numbers]
    named: dict[str, float] = {}
    for number in measure.numbers:
        named |= scores[number.name].named(number.name)
    return {"about": measure.about, "numbers": numbers, "scores": named}
