"""Results over several trainings of a model, as those of one: means, with standard errors over the seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real

from .results import KEY, EvaluationResults, Row, first_difference, row_key

_ERROR = "_stderr"


def over_seeds(results: Sequence[EvaluationResults]) -> EvaluationResults:
    """Returns the mean of each number over evaluations of a model that was trained at several seeds.

    Standard errors are those of the mean over the seeds, which the errors of single evaluations are a part of. Rows
    that not every seed has are left out.

    Raises `ValueError` for less than two evaluations, and for those of other settings than their seeds.
    """
    first, *others = results
    if not others:
        raise ValueError("There are results of one seed, which have no spread: give those of two or more.")
    alike = [replace(one, settings={**one.settings, "seed": None}) for one in results]
    for other in alike[1:]:
        if difference := first_difference(alike[0], other, of_model=False):
            raise ValueError(f"The results of two seeds differ in {difference}: evaluate them alike.")
        for name in ("method", "parameters", "scheduler"):
            if first.model.get(name) != other.model.get(name):
                raise ValueError(
                    f"The results of two seeds are of models with another `{name}` ({first.model.get(name)!r}, not "
                    f"{other.model.get(name)!r}): average those of one recipe."
                )
    prints = [one.model["fingerprint"] for one in results if "fingerprint" in one.model]
    if len(set(prints)) < len(prints):
        raise ValueError("Two results are of the same weights, which have no spread: give those of different seeds.")
    keys = [row_key(row) for row in first.rows if all(one.find(row_key(row)) for one in others)]
    rows = [_mean([one.find(key) or {} for one in results]) for key in keys]
    seeds = [one.settings["seed"] for one in results]
    model = {name: value for name, value in first.model.items() if name != "fingerprint"}
    measures = {
        name: {**entry, "scores": _mean([one.measures[name]["scores"] for one in results], key=())}
        for name, entry in first.measures.items()
        if all("scores" in one.measures.get(name, {}) for one in results)
    }
    settings = {**first.settings, "seed": seeds}
    return EvaluationResults(model, first.task, settings, first.circumstances, rows, measures)


def _mean(rows: Sequence[Row], key: Sequence[str] = KEY) -> Row:
    """Returns the mean of each number that all rows have, and its standard error."""
    mean: Row = {name: rows[0][name] for name in key}
    for name, value in rows[0].items():
        values = [row.get(name) for row in rows]
        numbers = [one for one in values if isinstance(one, Real)]
        if name in key or name.endswith(_ERROR) or not isinstance(value, Real) or len(numbers) < len(rows):
            continue
        mean[name] = statistics.fmean(map(float, numbers))
        if name not in ("nfe",):
            mean[f"{name}{_ERROR}"] = statistics.stdev(map(float, numbers)) / math.sqrt(len(numbers))
    return mean
