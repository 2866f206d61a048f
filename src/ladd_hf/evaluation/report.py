"""Tables of evaluated models in Markdown."""

from __future__ import annotations

from typing import Any

from .comparison import AXES, Comparison, EqualCost, label
from .results import Row

_COSTS = {"nfe": ("evaluations", 1.0, "{:.0f}"), "flops": ("MFLOPs", 1e-6, "{:.1f}"), "seconds": ("ms", 1e3, "{:.2f}")}
_BOUNDS = {"bound": "bound of the run", "marginal_bound": "marginalised bound"}


def markdown_report(comparison: Comparison) -> str:
    """Formats the models, the main measure by number of evaluations and at equal cost, all rows, and what the numbers
    depend on."""
    first = comparison.results[0]
    parts = [f"## {first.task['name']}", _models(comparison)]
    for temperature in comparison.temperatures:
        if comparison.curves(temperature=temperature):
            parts += [_by_evaluations(comparison, temperature), *_at_equal_cost(comparison, temperature)]
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
    return _table(["model", "method", "parameters", "saved scheduler", "fingerprint"], cells)


def _scheduler(saved: dict[str, Any]) -> str:
    """Describes a saved scheduler by its kind and its order of tokens."""
    order = saved.get("unmasking", "")
    order = order if isinstance(order, str) else order.get("name", "")
    return ", ".join(part for part in (saved.get("kind", "").removeprefix("Ladd"), order) if part)


def _by_evaluations(comparison: Comparison, temperature: float) -> str:
    """Formats the main measure: a line per model and schedule, a column per number of evaluations."""
    main, curves = comparison.main, comparison.curves(temperature=temperature)
    budgets = sorted({row["num_steps"] for rows in curves.values() for row in rows})
    cells = []
    for name, rows in curves.items():
        by_budget = {row["num_steps"]: row for row in rows}
        cells.append([name, *(_score(by_budget.get(budget), main) for budget in budgets)])
    title = f"### {main['metric'][:1].upper()}{main['metric'][1:]}, temperature {temperature:g}"
    return f"{title}\n\n{_table(['evaluations', *map(str, budgets)], cells)}"


def _at_equal_cost(comparison: Comparison, temperature: float) -> list[str]:
    """Formats, for each curve but the baseline's, the baseline's score at the cost of its runs, and the change."""
    main, parts = comparison.main, []
    baseline = comparison.baseline(temperature=temperature)
    for axis in ("flops", "seconds"):
        others = [name for name in comparison.curves(axis, temperature) if name != baseline]
        if baseline is None or baseline not in comparison.curves(axis, temperature) or not others:
            continue
        _, unit, shown = _COSTS[axis]
        cells = []
        for name in others:
            for run in comparison.at_equal_cost(axis, name, baseline, temperature):
                cost, score = shown.format(run.cost * unit), f"{run.score:.{main['digits']}f}"
                cells.append([name, str(run.num_steps), cost, score, *_against(comparison, run)])
        head = [
            "model and schedule",
            "evaluations",
            _COSTS[axis][0],
            main["name"],
            f"{baseline} there",
            _change(comparison),
        ]
        parts.append(f"#### At equal {AXES[axis]}, temperature {temperature:g}\n\n{_table(head, cells)}")
    return parts


def _against(comparison: Comparison, run: EqualCost) -> tuple[str, str]:
    """Formats the baseline's score at a run's cost and the change, or why there is none."""
    if run.baseline is None:
        ends = {"below": "none: its cheapest run costs more", "above": "none: its dearest run costs less"}
        return ends[str(run.beyond)], ""
    change = comparison.change(run.baseline, run.score)
    return f"{run.baseline:.{comparison.main['digits']}f}", "" if change is None else f"{change:+.1%}"


def _of_models(comparison: Comparison) -> list[str]:
    """Formats the measures of the models themselves: a line per number, a column per model."""
    parts = []
    for name in dict.fromkeys(name for one in comparison.results for name in one.measures):
        found = [one.measures.get(name, {}) for one in comparison.results]
        known = next((one for one in found if "numbers" in one), None)
        if known is None:
            continue
        head = [name, *(one.model["name"] for one in comparison.results)]
        cells = [[one["metric"], *(_score(entry.get("scores"), one) for entry in found)] for one in known["numbers"]]
        texts = f"{comparison.results[0].settings['num_texts']:,} held-out texts"
        told = [f"{name}, of {texts}: {known['about']}."]
        told += [
            f"{one.model['name']} has no {entry['lacking']}."
            for one, entry in zip(comparison.results, found, strict=True)
            if "lacking" in entry
        ]
        listed = "\n".join(f"* {line}" for line in told)
        parts.append(f"### Measures of the model: {name.replace('_', ' ')}\n\n{_table(head, cells)}\n\n{listed}")
    return parts


def _every_run(comparison: Comparison) -> str:
    """Formats every row with its costs, scores and bounds."""
    rows = [(one, row) for one in comparison.results for row in one.rows]
    costs = {name: cost for name, cost in _COSTS.items() if any(name in row for _, row in rows)}
    bounds = {name: about for name, about in _BOUNDS.items() if any(name in row for _, row in rows)}
    measures = [one for one in comparison.results[0].task["measures"] if any(one["name"] in row for _, row in rows)]
    head = ["model and schedule", "temperature", *(about for about, *_ in costs.values())]
    head += [*(one["name"] for one in measures), *bounds.values()]
    cells = []
    for one, row in rows:
        line = [label(one, row["schedule"]), f"{row['temperature']:g}"]
        line += [shown.format(row[name] * unit) if name in row else "" for name, (_, unit, shown) in costs.items()]
        line += [_score(row, measure) for measure in measures]
        line += [_score(row, {"name": name, "digits": 4}) for name in bounds]
        cells.append(line)
    return _table(head, cells)


def _about(comparison: Comparison) -> str:
    """Describes the measures, the data's own scores, and the circumstances, in sentences."""
    first = comparison.results[0]
    reference, settings, where = first.task["reference"], first.settings, first.circumstances
    told = [f"{measure['name']}: {measure['about']}." for measure in first.task["measures"]]
    data = ", ".join(f"{m['name']} {_score(reference, m)}" for m in first.task["measures"] if m["name"] in reference)
    told.append(f"The data itself: {data}.")
    told.append(
        f"{settings['num_samples']:,} samples a row, seed {settings['seed']}; ± is a standard error. "
        f"{where['dtype']}, {where['hardware']}; {where['versions']}."
    )
    rows = [row for one in comparison.results for row in one.rows]
    if any(name in row for name in _BOUNDS for row in rows):
        proposals = f", marginalised over {settings['num_proposals']} proposals" if settings["num_proposals"] else ""
        told.append(
            f"Bounds: nats per token of {settings['num_texts']:,} held-out texts under the run that wrote the samples, "
            f"at {settings['bound_samples']} of its points each{proposals}; ± is over texts. Schedules that choose the "
            "order of tokens, such as `first_hitting`, have none; of continuous latents it is that of DDPM steps which "
            "keep some noise."
        )
    if len(comparison.curves()) > 1:
        told.append(
            "At equal cost: between two of its runs the baseline's score is taken as linear in the cost's logarithm."
        )
    if any("seconds" in row for row in rows):
        rounds = settings["timing_rounds"]
        told.append(
            f"Milliseconds are medians of {rounds} rounds in which all runs of a model take turns, one "
            f"model after the other; {settings['batch_size']} samples at once."
        )
    return "\n".join(f"* {line}" for line in told)


def _change(comparison: Comparison) -> str:
    """Names what `Comparison.change` returns."""
    if comparison.results[0].task["exact"]:
        return "of its distance to the data, closed"
    name = comparison.main["name"]
    return f"change of {'perplexity' if name == 'nats' else name}"


def _score(row: Row | None, measure: dict[str, Any]) -> str:
    name, digits = measure["name"], measure["digits"]
    if row is None or name not in row:
        return ""
    error = row.get(f"{name}_stderr")
    return f"{row[name]:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
