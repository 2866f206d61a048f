"""Comparison of evaluated models: at equal evaluations, and at equal operations or seconds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .results import EvaluationResults, Row, first_difference

# Costs of a sample, by the name of the number of a row.
AXES = {"nfe": "denoiser evaluations", "flops": "floating-point operations", "seconds": "seconds"}


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

    def curves(self, axis: str = "nfe", temperature: float = 1.0) -> dict[str, list[Row]]:
        """Returns the rows of each model and schedule in the order of their cost, by label.

        Raises `ValueError` for an unknown axis.
        """
        if axis not in AXES:
            raise ValueError(f"The axis is {axis!r}; give one of {list(AXES)}.")
        curves: dict[str, list[Row]] = {}
        for one in self.results:
            for row in one.rows:
                if row["temperature"] == temperature and axis in row:
                    curves.setdefault(label(one, row["schedule"]), []).append(row)
        return {name: sorted(rows, key=lambda row: row[axis]) for name, rows in curves.items()}

    def at_equal_cost(self, axis: str, baseline: str, other: str, temperature: float = 1.0) -> dict[int, float | None]:
        """Returns, for each number of evaluations of a curve, the baseline's score at its cost: between its neighbours
        along the logarithm of the cost; `None` beyond the baseline's ends."""
        curves, name = self.curves(axis, temperature), self.main["name"]
        return {
            row["num_steps"]: interpolated([(one[axis], one[name]) for one in curves[baseline]], row[axis])
            for row in curves[other]
        }


def compared(results: Sequence[EvaluationResults]) -> Comparison:
    """Returns the comparison of models that were measured alike.

    Raises `ValueError` for results of different tasks, judges, settings, dtypes, hardware or versions, naming the first
    difference; and for none.
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
    names = [label(one, "") for one in results]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"Two results are of a model {twice!r}: evaluate them under different names.")
    return Comparison(list(results))


def label(one: EvaluationResults, schedule: str) -> str:
    """Returns the name of a model's curve."""
    return f"{one.model['name']} {schedule}".strip()


def interpolated(points: Sequence[tuple[float, float]], cost: float) -> float | None:
    """Returns the score at a cost, linear in the cost's logarithm between points ordered by cost."""
    for (low, before), (high, after) in itertools.pairwise(points):
        if low <= cost <= high:
            share = 0.0 if high == low else math.log(cost / low) / math.log(high / low)
            return before + share * (after - before)
    return None
