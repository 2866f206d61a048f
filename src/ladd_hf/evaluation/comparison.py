"""Comparison of evaluated models: at equal evaluations, and at equal operations or seconds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..metrics import gap_closed
from ..tasks.base import relative_change
from .results import EvaluationResults, Row, first_difference

# Costs of a sample, by the name of the number of a row.
AXES = {"nfe": "denoiser evaluations", "flops": "floating-point operations", "seconds": "seconds"}


@dataclass(frozen=True)
class EqualCost:
    """A run, and the baseline at its cost.

    Attributes:
        num_steps: evaluations of the run.
        cost: of a sample.
        score: of its samples.
        baseline: score of the baseline at this cost; `None` where it has no runs on both sides of it.
        beyond: in which direction the baseline has none: `below` its cheapest run, or `above` its dearest.
    """

    num_steps: int
    cost: float
    score: float
    baseline: float | None
    beyond: Literal["below", "above"] | None


@dataclass(frozen=True)
class Comparison:
    """Scores of several models on the same task with the same settings.

    Attributes:
        results: of each model; the first is the baseline.
    """

    results: Sequence[EvaluationResults]

    @property
    def main(self) -> dict[str, Any]:
        """The measure by which samples are compared."""
        measure: dict[str, Any] = self.results[0].task["measures"][0]
        return measure

    @property
    def temperatures(self) -> list[float]:
        """Temperatures of the rows."""
        return sorted({row["temperature"] for one in self.results for row in one.rows})

    def curves(self, axis: str = "nfe", temperature: float = 1.0) -> dict[str, list[Row]]:
        """Returns the scored rows of each model and schedule in the order of their cost, by label.

        Rows without this cost, or with a cost of 0, of which operations could not be counted, are left out. Raises
        `ValueError` for an unknown axis.
        """
        if axis not in AXES:
            raise ValueError(f"The axis is {axis!r}; give one of {list(AXES)}.")
        curves: dict[str, list[Row]] = {}
        for one in self.results:
            for row in one.rows:
                if row["temperature"] == temperature and row.get(axis) and self.main["name"] in row:
                    curves.setdefault(label(one, row["schedule"]), []).append(row)
        return {name: sorted(rows, key=lambda row: row[axis]) for name, rows in curves.items()}

    def baseline(self, axis: str = "nfe", temperature: float = 1.0) -> str | None:
        """Returns the label of the baseline's curve: the first schedule of the first model; `None` if it has no such
        rows."""
        mine = {label(self.results[0], row["schedule"]): None for row in self.results[0].rows}
        return next((name for name in mine if name in self.curves(axis, temperature)), None)

    def at_equal_cost(
        self, axis: str, other: str, baseline: str | None = None, temperature: float = 1.0
    ) -> list[EqualCost]:
        """Compares each run of a curve with the baseline at the run's cost.

        Between two runs of the baseline its score is taken as linear in the logarithm of the cost; beyond its ends it
        is unknown.

        Args:
            axis: `flops`, `seconds` or `nfe`.
            other: label of the curve, a key of [`Comparison.curves`].
            baseline: label of the baseline's; see [`Comparison.baseline`] for the default.
            temperature: of the samples.

        Raises `ValueError` for an unknown axis, and for labels of no curve.
        """
        curves, name = self.curves(axis, temperature), self.main["name"]
        baseline = self.baseline(axis, temperature) if baseline is None else baseline
        for one in (baseline, other):
            if one is None or one not in curves:
                raise ValueError(f"There is no curve {one!r} over {AXES[axis]}; give one of {list(curves)}.")
        points = [(row[axis], row[name]) for row in curves[str(baseline)]]
        found = []
        for row in curves[other]:
            cost = row[axis]
            beyond: Any = "below" if cost < points[0][0] else "above" if cost > points[-1][0] else None
            found.append(EqualCost(row["num_steps"], cost, row[name], interpolated(points, cost), beyond))
        return found

    def change(self, baseline: float, score: float) -> float | None:
        """Returns the task's comparison of two scores: the share of the baseline's distance to the data's own score
        that is closed, if the judge is exact; else the relative difference, of nats that of the perplexities. `None`
        where the baseline has no distance, or a score of 0."""
        task, name = self.results[0].task, self.main["name"]
        floor = task["reference"][name] if task["exact"] else 0.0
        if baseline == floor and (task["exact"] or name != "nats"):
            return None
        return gap_closed(baseline, score, floor) if task["exact"] else relative_change(name, baseline, score)


def compared(results: Sequence[EvaluationResults]) -> Comparison:
    """Returns the comparison of models that were measured alike.

    Raises `ValueError` for results of different tasks, judges, measures, settings, dtypes, hardware or versions, naming
    the first difference; for two of one name; and for none.
    """
    if not results:
        raise ValueError("There are no results to compare: give one or more files of results.")
    first, *others = results
    for other in others:
        if difference := first_difference(first, other, of_model=False):
            raise ValueError(
                f"The results of {first.model['name']!r} and {other.model['name']!r} differ in {difference}, so their "
                "numbers cannot be compared: evaluate them alike."
            )
        for name in first.measures.keys() & other.measures.keys():
            if first.measures[name]["about"] != other.measures[name]["about"]:
                raise ValueError(
                    f"The results of {first.model['name']!r} and {other.model['name']!r} have the measure {name!r} "
                    "with other options: measure both alike."
                )
    names = [one.model["name"] for one in results]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"Two results are of a model {twice!r}: evaluate them under different names.")
    return Comparison(list(results))


def label(one: EvaluationResults, schedule: str) -> str:
    """Returns the name of a model's curve."""
    return f"{one.model['name']} {schedule}"


def interpolated(points: Sequence[tuple[float, float]], cost: float) -> float | None:
    """Returns the score at a cost above 0, linear in the cost's logarithm between points that are ordered by cost;
    `None` beyond them."""
    exact = next((score for known, score in points if known == cost), None)
    if exact is not None:
        return exact
    for (low, before), (high, after) in itertools.pairwise(points):
        if low < cost < high:
            return before + math.log(cost / low) / math.log(high / low) * (after - before)
    return None
