"""Comparison of evaluated models: at equal evaluations, and at equal operations or seconds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
        score_stderr: standard error of the score, if it is known.
        baseline_stderr: standard error of the baseline's score. Between two of its runs the score is (1 - w) a + w b,
            and the error (1 - w) of a's and w of b's: the largest that there may be, since samples of two runs share
            their seeds, so that their errors are not independent. `None` if one of the two is not known.
    """

    num_steps: int
    cost: float
    score: float
    baseline: float | None
    beyond: Literal["below", "above"] | None
    score_stderr: float | None = None
    baseline_stderr: float | None = None


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

    @property
    def timed_apart(self) -> list[str]:
        """Names of the timed models whose rows did not take turns with those of the first timed one."""
        timed = [one for one in self.results if one.is_timed]
        return [one.model["name"] for one in timed[1:] if not one.timing or one.timing != timed[0].timing]

    def curves(self, axis: str = "nfe", temperature: float = 1.0) -> dict[str, list[Row]]:
        """Returns the scored rows of each model and schedule in the order of their cost, by label.

        Rows without this cost, or with a cost of 0, of which operations could not be counted, are left out; over
        seconds also models that were timed in another run than the first timed one ([`Comparison.timed_apart`]). Raises
        `ValueError` for an unknown axis.
        """
        if axis not in AXES:
            raise ValueError(f"The axis is {axis!r}; give one of {list(AXES)}.")
        curves: dict[str, list[Row]] = {}
        apart = self.timed_apart if axis == "seconds" else []
        for one in self.results:
            for row in one.rows if one.model["name"] not in apart else []:
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

        Between two runs of the baseline its score, and so its standard error, is taken as linear in the logarithm of
        the cost; beyond its ends it is unknown.

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
            if axis == "seconds" and one in self._labels_apart():
                raise ValueError(
                    f"The seconds of {one!r} were measured in another run than the others', and depend on the speed of "
                    "the machine then: evaluate all models together."
                )
            if one is None or one not in curves:
                raise ValueError(f"There is no curve {one!r} over {AXES[axis]}; give one of {list(curves)}.")
        error = f"{name}_stderr"
        points = [(row[axis], row[name]) for row in curves[str(baseline)]]
        errors = [(row[axis], row.get(error)) for row in curves[str(baseline)]]
        found = []
        for row in curves[other]:
            cost = row[axis]
            beyond: Any = "below" if cost < points[0][0] else "above" if cost > points[-1][0] else None
            there = interpolated(points, cost), beyond, row.get(error), interpolated(errors, cost)
            found.append(EqualCost(row["num_steps"], cost, row[name], *there))
        return found

    def data(self) -> dict[str, Any]:
        """Returns the results of all models, and their comparisons at equal cost, as JSON data."""
        return {"models": [one.data() for one in self.results], "equal_cost": self.equal_cost_data()}

    def _labels_apart(self) -> list[str]:
        apart = self.timed_apart
        return [label(one, row["schedule"]) for one in self.results if one.model["name"] in apart for row in one.rows]

    def equal_cost_data(self) -> list[dict[str, Any]]:
        """Returns all comparisons at equal operations and seconds with the baseline as JSON data, a mapping for each
        run: its axis, temperature and label, what [`EqualCost`] holds, and the change that [`Comparison.change`]
        tells."""
        found = []
        for axis in ("flops", "seconds"):
            for temperature in self.temperatures:
                for name, runs in self.all_at_equal_cost(axis, temperature).items():
                    for run in runs:
                        change = None if run.baseline is None else self.change(run.baseline, run.score)
                        place = {"axis": axis, "temperature": temperature, "run": name}
                        found.append({**place, **asdict(run), "change": change})
        return found

    def all_at_equal_cost(self, axis: str, temperature: float = 1.0) -> dict[str, list[EqualCost]]:
        """Returns the comparison of each curve but the baseline's with it, by label; none without a baseline."""
        baseline = self.baseline(temperature=temperature)
        curves = self.curves(axis, temperature)
        if baseline not in curves:
            return {}
        others = [name for name in curves if name != baseline]
        return {name: self.at_equal_cost(axis, name, baseline, temperature) for name in others}

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


def interpolated(points: Sequence[tuple[float, float | None]], cost: float) -> float | None:
    """Returns the number at a cost above 0, linear in the cost's logarithm between points that are ordered by cost;
    `None` beyond them, and where a number that it depends on is `None`."""
    exact = next(((number,) for known, number in points if known == cost), None)
    if exact is not None:
        return exact[0]
    for (low, before), (high, after) in itertools.pairwise(points):
        if low < cost < high and before is not None and after is not None:
            return before + math.log(cost / low) / math.log(high / low) * (after - before)
    return None
