"""Results over several trainings of a model, as those of one: means, with standard errors over the seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

from .comparison import Comparison, compared
from .results import KEY, EvaluationResults, Row, first_difference, row_key

_ERROR = "_stderr"


def compared_over_seeds(results: Sequence[Sequence[EvaluationResults]], baseline: str | None = None) -> Comparison:
    """Returns the comparison of the means of models that were trained at several seeds, which keeps that at each seed;
    of models of one seed their comparison.

    Args:
        results: of each model, those of its trainings, in the same order of seeds.
        baseline: see [`compared`].

    Raises `ValueError` as `over_seeds` and `compared` do, and for models of other seeds.
    """
    if all(len(found) == 1 for found in results):
        return compared([found[0] for found in results], baseline)
    means = compared([over_seeds(found) for found in results], baseline)
    return replace(means, by_seed=[compared(found, means.named) for found in zip(*results, strict=True)])


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
    model = {name: value for name, value in first.model.items() if name not in ("fingerprint", "training")}
    trainings = [one.model.get("training") for one in results]
    if mean := _mean_cost([one for one in trainings if one], len(results)):
        model["training"] = mean
    shared = [path for path in first.bounds if all(path in one.bounds for one in others)]
    bounds = {path: _mean_bound([one.bounds[path] for one in results]) for path in shared}
    measures = {
        name: {**entry, "scores": _mean([one.measures[name]["scores"] for one in results], key=())}
        for name, entry in first.measures.items()
        if all("scores" in one.measures.get(name, {}) for one in results)
    }
    timing = {name: [one.timing.get(name) for one in results] for name in first.timing}  # seed by seed in turn
    return EvaluationResults(
        model, first.task, {**first.settings, "seed": seeds}, first.circumstances, rows, timing, bounds, measures
    )


def _mean_bound(bounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the mean of each number of a bound, and the error of the mean of its nats; its perplexity is that of the
    mean nats."""
    numbers = ("nats_per_token", "token_nats", "latent_nats")
    mean: dict[str, Any] = {name: statistics.fmean(one[name] for one in bounds) for name in numbers}
    nats = [one["nats_per_token"] for one in bounds]
    mean["nats_per_token_stderr"] = statistics.stdev(nats) / math.sqrt(len(nats))
    known = all(one["perplexity"] is not None for one in bounds)
    mean["texts"] = bounds[0]["texts"]
    return mean | {"perplexity": math.exp(mean["nats_per_token"]) if known else None}


def _mean_cost(costs: Sequence[dict[str, Any]], number: int) -> dict[str, Any]:
    """Returns the mean cost of trainings in the same stages; empty unless that of each one is known."""
    names = [[stage["stage"] for stage in one["stages"]] for one in costs]
    if len(costs) < number or any(one != names[0] for one in names):
        return {}

    def mean(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
        numbers = ("steps", "flops", "seconds")
        return {**parts[0], **{name: statistics.fmean(float(one[name]) for one in parts) for name in numbers}}

    stages = [mean(parts) for parts in zip(*(one["stages"] for one in costs), strict=True)]
    return {**mean(costs), "stages": stages}


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
