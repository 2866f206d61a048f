"""Scores of runs and of a baseline at equal diversity of their samples.

A lower temperature improves the score of any model and costs diversity. The baseline is evaluated at several
temperatures, between which its score is interpolated linearly in the diversity.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .changes import Change, Score, with_seeds
from .comparison import Comparison
from .equal_cost import interpolated
from .results import Row


@dataclass(frozen=True)
class EqualDiversity:
    """A run, and the baseline's score at equal cost and diversity.

    Attributes:
        num_steps: evaluations of the run.
        diversity: of its samples.
        cost: of a sample.
        score: of its samples.
        baseline: score of the baseline at this diversity and cost; `None` where it has no samples on both sides.
        beyond: of which of the two the baseline has none.
        change: from the baseline's score to the run's, with the standard error over the trainings, as
            `Comparison.change` has it; `None` without a baseline there.
    """

    num_steps: int
    diversity: float
    cost: float
    score: float
    baseline: float | None
    beyond: Literal["diversity", "cost"] | None = None
    change: Change | None = None

    def data(self) -> dict[str, Any]:
        """Returns the numbers as JSON data."""
        names = ("num_steps", "diversity", "cost", "score", "baseline", "beyond")
        data: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.change is not None:
            data |= {"change": self.change.value, "change_stderr": self.change.stderr}
            data["change_by_seed"] = list(self.change.by_seed)
        return data


def at_equal_diversity(
    comparison: Comparison, run: str, baseline: Sequence[str], measure: str = "entropy", axis: str = "nfe"
) -> list[EqualDiversity]:
    """Compares each run of a curve with a baseline of the same cost whose samples are as diverse.

    For each number of evaluations the baseline's score is interpolated at the run's diversity, and these scores at the
    run's cost, as [`Comparison.at_equal_cost`] does. Each of several trainings is compared with the baseline's at its
    seed, and changes have the standard error over the seeds.

    Args:
        comparison: holds the rows, with samples scored by a judge of diversity.
        run: label of a curve, a model and a schedule, as in [`Comparison.curves`].
        baseline: labels of the baseline's curves, one model's at several temperatures.
        measure: of diversity: a number of the rows, such as `entropy`, `distinct_4` or `self_bleu`.
        axis: of the cost: `nfe`, `flops` or `seconds`.

    Raises `ValueError` for labels of no curve, for no baseline, for an unknown axis, and for a measure that rows lack.
    """
    curves = comparison.curves(axis)
    if unknown := [one for one in (run, *baseline) if one not in curves]:
        raise ValueError(f"There is no curve {unknown[0]!r}; give some of {list(curves)}.")
    if not baseline:
        raise ValueError("`baseline` is empty; give the curves of a model at several temperatures.")
    beside = [row for label in baseline for row in curves[label]]
    if lacking := next((row for row in (*curves[run], *beside) if measure not in row), None):
        raise ValueError(
            f"The samples in {lacking['num_steps']} evaluations have no {measure!r}: evaluate them with a judge that "
            "gives it, such as 'entropy' or 'diversity'."
        )
    by_seed = [
        {one.num_steps: one for one in at_equal_diversity(seed, run, baseline, measure, axis)}
        for seed in comparison.by_seed
    ]
    name, found = comparison.main["name"], []
    for row in curves[run]:
        points = _as_diverse(beside, row[measure], measure, name, axis)
        there = interpolated(points, row[axis])
        numbers = row["num_steps"], row[measure], row[axis], row[name], there
        if there is None:
            priced = any(low <= row[axis] <= high for (low, _), (high, _) in _neighbours(points))
            found.append(EqualDiversity(*numbers, "diversity" if priced else "cost"))
            continue
        of_seeds = [one[row["num_steps"]].change if row["num_steps"] in one else None for one in by_seed]
        change = with_seeds(comparison.change(Score(there), Score(row[name])), of_seeds)
        found.append(EqualDiversity(*numbers, None, change))
    return found


def _as_diverse(rows: Sequence[Row], diversity: float, measure: str, name: str, axis: str) -> list[tuple[float, Any]]:
    """Returns (cost, score) for each number of evaluations, in the order of cost: its mean cost, and its score at a
    diversity, `None` outside the range of its temperatures."""
    found = []
    for number in {row["num_steps"] for row in rows}:
        same = [row for row in rows if row["num_steps"] == number]
        points = sorted((row[measure], row[name]) for row in same)
        found.append((sum(row[axis] for row in same) / len(same), _between(points, diversity)))
    return sorted(found, key=lambda point: point[0])


def _neighbours(points: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Returns the pairs of neighbouring points; of a single one it with itself."""
    return list(itertools.pairwise(points)) or [(one, one) for one in points]


def _between(points: Sequence[tuple[float, float]], place: float) -> float | None:
    """Returns the height at a place, linear between ordered points; `None` beyond them."""
    for (low, before), (high, after) in _neighbours(points):
        if low <= place <= high:
            return after if low == high else before + (place - low) / (high - low) * (after - before)
    return None
