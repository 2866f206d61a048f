"""Runs beside a baseline whose samples are as varied, which a lower temperature gives away for a better score.

Equal numbers of evaluations are compared, the baseline at several temperatures, between which its score is taken as
linear in the variety.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .changes import Change, Score, with_seeds
from .comparison import Comparison
from .results import Row


@dataclass(frozen=True)
class EqualVariety:
    """A run, and the baseline in as many evaluations where its samples are as varied.

    Attributes:
        num_steps: evaluations.
        variety: of the run's samples.
        score: of the run's samples.
        baseline: score of the baseline at this variety; `None` where it has no samples on both sides of it.
        beyond: in which direction the baseline has none: `below` or `above` its own variety.
        change: from the baseline's score to the run's, with the standard error over the trainings, as
            `Comparison.change` has it; `None` without a baseline there.
    """

    num_steps: int
    variety: float
    score: float
    baseline: float | None
    beyond: Literal["below", "above"] | None = None
    change: Change | None = None

    def data(self) -> dict[str, Any]:
        """Returns the numbers as JSON data."""
        names = ("num_steps", "variety", "score", "baseline", "beyond")
        data: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.change is not None:
            data |= {"change": self.change.value, "change_stderr": self.change.stderr}
            data["change_by_seed"] = list(self.change.by_seed)
        return data


def at_equal_variety(
    comparison: Comparison, run: str, baseline: Sequence[str], measure: str = "entropy"
) -> list[EqualVariety]:
    """Compares each number of evaluations of a curve with a baseline whose samples are as varied.

    Of several trainings each is compared with the baseline's at its seed, and changes have the error over the seeds.

    Args:
        comparison: holds the rows, with samples scored by a judge of variety.
        run: label of a curve, a model and a schedule, as in [`Comparison.curves`].
        baseline: labels of the baseline's curves, one model's at several temperatures.
        measure: of variety: a number of the rows, such as `entropy`, `distinct_4` or `self_bleu`.

    Raises `ValueError` for labels of no curve, for no baseline, and for a measure that rows lack.
    """
    curves = comparison.curves()
    if unknown := [one for one in (run, *baseline) if one not in curves]:
        raise ValueError(f"There is no curve {unknown[0]!r}; give some of {list(curves)}.")
    if not baseline:
        raise ValueError("`baseline` is empty; give the curves of a model at several temperatures.")
    by_seed = [
        {one.num_steps: one for one in at_equal_variety(seed, run, baseline, measure)} for seed in comparison.by_seed
    ]
    name, found = comparison.main["name"], []
    for row in curves[run]:
        if lacking := next((one for one in (row, *_at(curves, baseline, row)) if measure not in one), None):
            raise ValueError(
                f"The samples in {lacking['num_steps']} evaluations have no {measure!r}: evaluate them with a judge "
                "that gives it, such as 'entropy' or 'diversity'."
            )
        points = sorted((one[measure], one[name]) for one in _at(curves, baseline, row))
        variety, score = row[measure], row[name]
        there = _interpolated(points, variety)
        if there is None:
            beyond: Literal["below", "above"] = "below" if not points or variety < points[0][0] else "above"
            found.append(EqualVariety(row["num_steps"], variety, score, None, beyond))
            continue
        of_seeds = [one[row["num_steps"]].change if row["num_steps"] in one else None for one in by_seed]
        change = with_seeds(comparison.change(Score(there), Score(score)), of_seeds)
        found.append(EqualVariety(row["num_steps"], variety, score, there, None, change))
    return found


def _at(curves: dict[str, list[Row]], baseline: Sequence[str], row: Row) -> list[Row]:
    """Returns the baseline's rows of as many evaluations."""
    return [one for label in baseline for one in curves[label] if one["num_steps"] == row["num_steps"]]


def _interpolated(points: Sequence[tuple[float, float]], place: float) -> float | None:
    """Returns the height at a place, linear between ordered points; `None` beyond them."""
    for (low, before), (high, after) in itertools.pairwise(points):
        if low <= place <= high:
            return after if low == high else before + (place - low) / (high - low) * (after - before)
    return next((height for known, height in points if known == place), None)
