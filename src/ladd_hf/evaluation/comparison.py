"""Comparison of evaluated models: at equal evaluations, and at equal operations or seconds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from .changes import Change, Score, relative, share_closed, with_seeds
from .equal_cost import EqualCost, interpolated
from .results import EvaluationResults, Row, first_difference

# Costs of a sample, by the name of the number of a row.
AXES = {"nfe": "denoiser evaluations", "flops": "floating-point operations", "seconds": "seconds"}


@dataclass(frozen=True)
class Comparison:
    """Scores of several models on the same task with the same settings.

    Attributes:
        results: of each model.
        named: label of the baseline, such as `mdlm tuned`; `None` for the first schedule of the first model.
        by_seed: of means over several trainings, the comparison at each seed, with the same baseline.
    """

    results: Sequence[EvaluationResults]
    named: str | None = None
    by_seed: Sequence[Comparison] = ()

    @property
    def baseline_model(self) -> EvaluationResults:
        """Results of the model whose curve is the baseline."""
        return next((one for one in self.results if self.named in labels_of(one)), self.results[0])

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
        """Names of the timed models whose rows did not take turns with the baseline's, or, if that was not timed, with
        those of the first timed one."""
        timed = [one for one in (self.baseline_model, *self.results) if one.is_timed]
        others = [one for one in self.results if one.is_timed and one is not timed[0]]
        return [one.model["name"] for one in others if not one.timing or one.timing != timed[0].timing]

    def curves(self, axis: str = "nfe", temperature: float = 1.0) -> dict[str, list[Row]]:
        """Returns the scored rows of each model and schedule in the order of their cost, by label.

        Rows without this cost, or with a cost of 0, of which operations could not be counted, are left out; over
        seconds also models that were timed in another run than the baseline ([`Comparison.timed_apart`]). Raises
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
        """Returns the label of the baseline's curve: the named one, else the first schedule of the first model; `None`
        if it has no such rows."""
        mine = labels_of(self.results[0]) if self.named is None else [self.named]
        return next((name for name in mine if name in self.curves(axis, temperature)), None)

    def at_equal_cost(
        self, axis: str, other: str, baseline: str | None = None, temperature: float = 1.0
    ) -> list[EqualCost]:
        """Compares each run of a curve with the baseline at the run's cost.

        Between two runs of the baseline its score, and so its standard error, is taken as linear in the logarithm of
        the cost; beyond its ends it is unknown. Changes have the errors of [`Change`]: of several trainings those over
        the seeds, each training compared with the baseline's at its seed and there at its cost.

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
        by_seed = [one._runs(axis, other, str(baseline), temperature) for one in self.by_seed]
        found = []
        for row in curves[other]:
            cost, num_steps = row[axis], row["num_steps"]
            beyond: Any = "below" if cost < points[0][0] else "above" if cost > points[-1][0] else None
            score, there = Score(row[name], row.get(error)), interpolated(points, cost)
            numbers = num_steps, cost, score.value, there, beyond, score.stderr, interpolated(errors, cost)
            changes: tuple[Change | None, ...] = ()
            if there is not None:
                seeds = [one.get(num_steps) for one in by_seed]
                pair = Score(there, interpolated(errors, cost)), score
                changes = (
                    with_seeds(self.change(*pair), [None if one is None else one.change for one in seeds]),
                    with_seeds(self.closed(*pair), [None if one is None else one.closed for one in seeds]),
                )
            found.append(EqualCost(*numbers, *changes))
        return found

    def _runs(self, axis: str, other: str, baseline: str, temperature: float) -> dict[int, EqualCost]:
        """Returns the comparisons of a curve by number of evaluations; none where there is no curve."""
        if not {baseline, other} <= self.curves(axis, temperature).keys():
            return {}
        return {run.num_steps: run for run in self.at_equal_cost(axis, other, baseline, temperature)}

    def data(self) -> dict[str, Any]:
        """Returns the results of all models, their comparisons at equal cost with the baseline, and what means are
        over, as JSON data; see `comparison_files.py`."""
        data: dict[str, Any] = {"baseline": self.baseline() if self.named is None else self.named}
        data |= {"equal_cost": self.equal_cost_data(), "models": [one.data() for one in self.results]}
        if self.by_seed:
            of_models = zip(*(one.results for one in self.by_seed), strict=True)
            data["by_seed"] = {found[0].model["name"]: [one.data() for one in found] for found in of_models}
        return data

    def _labels_apart(self) -> list[str]:
        apart = self.timed_apart
        return [label(one, row["schedule"]) for one in self.results if one.model["name"] in apart for row in one.rows]

    def equal_cost_data(self) -> list[dict[str, Any]]:
        """Returns all comparisons at equal evaluations, operations and seconds with the baseline as JSON data, a
        mapping for each run: its axis, temperature and label, that of the baseline, and what [`EqualCost`] holds."""
        found = []
        for axis in AXES:
            for temperature in self.temperatures:
                baseline = self.baseline(temperature=temperature)
                for name, runs in self.all_at_equal_cost(axis, temperature).items():
                    place = {"axis": axis, "temperature": temperature, "run": name, "against": baseline}
                    found += [{**place, **run.data()} for run in runs]
        return found

    def all_at_equal_cost(self, axis: str, temperature: float = 1.0) -> dict[str, list[EqualCost]]:
        """Returns the comparison of each curve but the baseline's with it, by label; none without a baseline."""
        baseline = self.baseline(temperature=temperature)
        curves = self.curves(axis, temperature)
        if baseline not in curves:
            return {}
        others = [name for name in curves if name != baseline]
        return {name: self.at_equal_cost(axis, name, baseline, temperature) for name in others}

    def change(self, baseline: Score, score: Score) -> Change | None:
        """Returns the task's comparison of two scores: the share of the baseline's distance to the data's own score
        that is closed, if the judge is exact; else the relative difference, of nats that of the perplexities. `None`
        where the baseline has no distance, or a score of 0."""
        exact = self.results[0].task["exact"]
        return self.closed(baseline, score) if exact else relative(self.main["name"], baseline, score)

    def closed(self, baseline: Score, score: Score) -> Change | None:
        """Returns the share of the baseline's distance to the data's own score that is closed; `None` where that score
        is not known, and where the baseline has no distance. Of several trainings the data's own score has no error:
        it is the same at each seed."""
        name, reference = self.main["name"], self.results[0].task["reference"]
        if name not in reference:
            return None
        error = 0.0 if self.by_seed or self.results[0].task["exact"] else reference.get(f"{name}_stderr")
        return share_closed(baseline, score, Score(reference[name], error))


def compared(results: Sequence[EvaluationResults], baseline: str | None = None) -> Comparison:
    """Returns the comparison of models that were measured alike.

    Args:
        results: of each model.
        baseline: label of the curve that others are compared with, a model's name and a schedule, such as `mdlm tuned`;
            by default the first schedule of the first model.

    Raises `ValueError` for results of different tasks, judges, measures, settings, dtypes, hardware or versions, naming
    the first difference; for two of one name; for none; and for a baseline that none of them is.
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
    check_baseline(baseline, [name for one in results for name in labels_of(one)])
    return Comparison(list(results), baseline)


def check_baseline(baseline: str | None, labels: Collection[str]) -> None:
    """Raises `ValueError` for a baseline, if one is named, that is none of the labels."""
    if baseline is not None and baseline not in labels:
        known = list(dict.fromkeys(labels))
        raise ValueError(f"The baseline {baseline!r} is no model with one of its schedules: give one of {known}.")


def label(one: EvaluationResults, schedule: str) -> str:
    """Returns the name of a model's curve."""
    return f"{one.model['name']} {schedule}"


def labels_of(one: EvaluationResults) -> list[str]:
    """Returns the labels of a model's rows, in their order."""
    return list(dict.fromkeys(label(one, row["schedule"]) for row in one.rows))
