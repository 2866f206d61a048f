"""Tables of evaluated models in Markdown."""

from __future__ import annotations

from typing import Any

from ..tasks.base import described_counts
from .comparison import Comparison, label
from .equal_cost_tables import COSTS, about_changes, equal_cost_tables
from .markdown import at_temperature, number, score_cell, table

_BOUNDS = {"bound": "bound of the run", "marginal_bound": "marginalised bound"}


def markdown_report(comparison: Comparison) -> str:
    """Formats the models, the main measure by number of evaluations and at equal cost, all rows, and what the numbers
    depend on."""
    first = comparison.results[0]
    parts = [f"## {first.task['name']}", _models(comparison), *_training(comparison), *_bounds(comparison)]
    for temperature in comparison.temperatures:
        if comparison.curves(temperature=temperature):
            parts += [_by_evaluations(comparison, temperature), *equal_cost_tables(comparison, temperature)]
    parts += _of_models(comparison)
    parts += ["### Every run", _every_run(comparison), _about(comparison)]
    return "\n\n".join(parts) + "\n"


def _models(comparison: Comparison) -> str:
    cells = []
    for one in comparison.results:
        parameters = one.model.get("parameters")
        size = "" if parameters is None else f"{parameters:,}"
        saved = _scheduler(one.model.get("scheduler", {}))
        cells.append([one.model["name"], one.model["method"], size, saved, one.model.get("fingerprint", "")])
    return table(["model", "method", "parameters", "saved scheduler", "fingerprint"], cells)


def _training(comparison: Comparison) -> list[str]:
    """Formats what the training of each model cost, in all and by stage, if it is known of any."""
    costs = {one.model["name"]: one.model.get("training", {}) for one in comparison.results}
    if not any(costs.values()):
        return []
    cells = []
    for name, cost in costs.items():
        if not cost:
            cells.append([name, "not recorded", "", "", "", ""])
            continue
        stages = [{**one, "hardware": ""} for one in cost["stages"]] if len(cost["stages"]) > 1 else []
        for part in ({"stage": "all", **cost}, *stages):
            steps = f"{part['steps']:,.0f}"
            if missing := part.get("uncounted_steps", 0):
                steps += f", and {missing:,.0f} that were not counted"
            flops, seconds = f"{part['flops'] * 1e-12:,.1f}", f"{part['seconds']:,.0f}"
            cells.append([name, part["stage"], steps, flops, seconds, part.get("hardware", "")])
    head = ["training of", "stage", "steps", "TFLOPs", "seconds", "hardware"]
    return [f"### Training\n\n{table(head, cells)}"]


def _bounds(comparison: Comparison) -> list[str]:
    """Formats the bounds in continuous time, if there are any."""
    cells = []
    for one in comparison.results:
        for path, bound in one.bounds.items():
            perplexity = "none" if bound["perplexity"] is None else f"{bound['perplexity']:.2f}"
            parts = [f"{bound[name]:.4f}" for name in ("token_nats", "latent_nats")]
            whole = number(bound["nats_per_token"], bound.get("nats_per_token_stderr"), 4)
            cells.append([one.model["name"], path, whole, *parts, perplexity, f"{bound['texts']:,}"])
    head = ["bound in continuous time of", "path", "nats per token", "tokens", "latents", "perplexity", "texts"]
    return [f"### Bounds\n\n{table(head, cells)}"] if cells else []


def _scheduler(saved: dict[str, Any]) -> str:
    """Describes a saved scheduler by its kind, its order of tokens, and temperatures of its own."""
    order = saved.get("unmasking", "")
    order = order if isinstance(order, str) else order.get("name", "")
    own = [
        f"{name.replace('_', ' ')} {saved[name]:g}"
        for name in ("temperature", "latent_temperature")
        if saved.get(name) not in (None, 1)
    ]
    return ", ".join(part for part in (saved.get("kind", "").removeprefix("Ladd"), order, *own) if part)


def _by_evaluations(comparison: Comparison, temperature: float) -> str:
    """Formats the main measure: a line per model and schedule, a column per number of evaluations."""
    main, curves = comparison.main, comparison.curves(temperature=temperature)
    budgets = sorted({row["num_steps"] for rows in curves.values() for row in rows})
    cells = []
    for name, rows in curves.items():
        by_budget = {row["num_steps"]: row for row in rows}
        cells.append([name, *(score_cell(by_budget.get(budget), main) for budget in budgets)])
    title = f"### {main['metric'][:1].upper()}{main['metric'][1:]}, {at_temperature(temperature)}"
    return f"{title}\n\n{table(['evaluations', *map(str, budgets)], cells)}"


def _of_models(comparison: Comparison) -> list[str]:
    """Formats the measures of the models themselves: a line per number, a column per model."""
    parts = []
    for name in dict.fromkeys(name for one in comparison.results for name in one.measures):
        found = [one.measures.get(name, {}) for one in comparison.results]
        known = next((one for one in found if "numbers" in one), None)
        if known is None:
            continue
        head = [name, *(one.model["name"] for one in comparison.results)]
        cells = [
            [one["metric"], *(score_cell(entry.get("scores"), one) for entry in found)] for one in known["numbers"]
        ]
        told = [f"{name}, of {known['texts']:,} held-out texts: {known['about']}."]
        told += [
            f"{one.model['name']} has no {entry['lacking']}."
            for one, entry in zip(comparison.results, found, strict=True)
            if "lacking" in entry
        ]
        listed = "\n".join(f"* {line}" for line in told)
        parts.append(f"### Measures of the model: {name.replace('_', ' ')}\n\n{table(head, cells)}\n\n{listed}")
    return parts


def _every_run(comparison: Comparison) -> str:
    """Formats every row with its costs, scores and bounds."""
    rows = [(one, row) for one in comparison.results for row in one.rows]
    costs = {name: cost for name, cost in COSTS.items() if any(name in row for _, row in rows)}
    bounds = {name: about for name, about in _BOUNDS.items() if any(name in row for _, row in rows)}
    measures = [one for one in comparison.results[0].task["measures"] if any(one["name"] in row for _, row in rows)]
    head = ["model and schedule", "times its temperature", *(about for about, *_ in costs.values())]
    head += [*(one["name"] for one in measures), *bounds.values()]
    cells = []
    for one, row in rows:
        line = [label(one, row["schedule"]), f"{row['temperature']:g}"]
        line += [shown.format(row[name] * unit) if name in row else "" for name, (_, unit, shown) in costs.items()]
        line += [score_cell(row, measure) for measure in measures]
        line += [score_cell(row, {"name": name, "digits": 4}) for name in bounds]
        cells.append(line)
    return table(head, cells)


def _about(comparison: Comparison) -> str:
    """Describes the measures, the data's own scores, and the circumstances, in sentences."""
    first = comparison.results[0]
    reference, settings, where = first.task["reference"], first.settings, first.circumstances
    several = isinstance(settings["seed"], list)
    numbers = ", ".join(map(str, settings["seed"])) if several else settings["seed"]
    seeds = f"seeds {numbers}; ± is over trainings" if several else f"seed {numbers}; ± is a standard error"
    over = "trainings, each on the same texts" if several else "texts"
    told = [f"{measure['name']}: {measure['about']}." for measure in first.task["measures"]]
    data = ", ".join(
        f"{m['name']} {score_cell(reference, m)}" for m in first.task["measures"] if m["name"] in reference
    )
    counts = described_counts(first.task.get("reference_counts", {}), settings["num_samples"])
    told += [f"The data itself: {data}.{counts}"] if data else []
    told.append(
        f"{settings['num_samples']:,} samples a row, {seeds}. "
        f"{where['dtype']}, {where['hardware']}; {where['versions']}."
    )
    if characters := first.task.get("judge_characters"):
        told.append(f"Of the training texts judges read the first {characters:,} characters at most.")
    if any(one.bounds for one in comparison.results):
        told.append(
            f"Bounds in continuous time: at {settings['bound_samples']} points of the path for each text; ± is over "
            f"{over}. Of continuous latents without anchors the sum is relative to the smallest noise and "
            "no bound, and along a path from (1, 0) latents are given: no perplexity."
        )
    rows = [row for one in comparison.results for row in one.rows]
    if any(name in row for name in _BOUNDS for row in rows):
        proposals = f", marginalised over {settings['num_proposals']} proposals" if settings["num_proposals"] else ""
        if (width := settings.get("proposal_width")) is not None:
            proposals += f" of the width {width:g}"
        told.append(
            f"Bounds: nats per token of at most {settings['num_texts']:,} held-out texts under the run that wrote the "
            f"samples, at {settings['bound_samples']} of its points each{proposals}; ± is over {over}. Schedules that "
            "choose the order of tokens by confidence, remask, have a temperature of their own other than 1, or make "
            "`ddim` steps to anchors have none, nor have models that see their last estimate of the latents; where "
            "tokens wait for latents there is the marginalised one alone. `first_hitting` has one where tokens are "
            "written one by one after all latents, the mean over all orders, but none that is marginalised; with fewer "
            "steps it reveals a fixed number of tokens at once, and steps that reveal each alone bound another law. Of "
            "continuous latents the bound is that of DDPM steps, which keep some noise without anchors."
        )
    if len(comparison.curves()) > 1:
        told.append(about_changes(comparison))
    if any("seconds" in row for row in rows):
        rounds = settings["timing_rounds"]
        told.append(
            f"Milliseconds are medians of {rounds} rounds in which all runs of all models take turns; "
            f"{settings['batch_size']} samples at once."
        )
        if apart := comparison.timed_apart:
            told.append(
                f"The milliseconds of {', '.join(apart)} belong to another run, at another time, and compare with no "
                "other model's: evaluate all models together."
            )
    return "\n".join(f"* {line}" for line in told)
