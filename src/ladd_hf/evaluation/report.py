"""Tables of evaluated models in Markdown."""

from __future__ import annotations

from typing import Any

from .comparison import Comparison, label
from .results import Row

_COSTS = {"nfe": ("evaluations", 1.0, "{:.0f}"), "flops": ("MFLOPs", 1e-6, "{:.1f}"), "seconds": ("ms", 1e3, "{:.2f}")}
_BOUNDS = {"bound": "bound of the run", "marginal_bound": "marginalised bound"}


def markdown_report(comparison: Comparison) -> str:
    """Formats all rows as a table, a table of the main measure by number of evaluations, and what they depend on."""
    first = comparison.results[0]
    parts = [f"## {first.task['name']}", *(_wide(comparison, one) for one in _temperatures(comparison))]
    parts += ["### Every run", _long(comparison), _about(comparison)]
    return "\n\n".join(parts) + "\n"


def _temperatures(comparison: Comparison) -> list[float]:
    return sorted({row["temperature"] for one in comparison.results for row in one.rows})


def _wide(comparison: Comparison, temperature: float) -> str:
    """Formats the main measure: a line per model and schedule, a column per number of evaluations."""
    main, curves = comparison.main, comparison.curves(temperature=temperature)
    budgets = sorted({row["num_steps"] for rows in curves.values() for row in rows})
    lines = [f"{main['metric'].capitalize()}, temperature {temperature:g}", ""]
    cells = []
    for name, rows in curves.items():
        by_budget = {row["num_steps"]: row for row in rows}
        cells.append([name, *(_score(by_budget.get(budget), main) for budget in budgets)])
    lines += _table(["evaluations", *map(str, budgets)], cells)
    return "\n".join(lines)


def _long(comparison: Comparison) -> str:
    """Formats every row with its costs, scores and bounds."""
    rows = [(one, row) for one in comparison.results for row in one.rows]
    costs = {name: cost for name, cost in _COSTS.items() if any(name in row for _, row in rows)}
    bounds = {name: about for name, about in _BOUNDS.items() if any(name in row for _, row in rows)}
    measures = comparison.results[0].task["measures"]
    head = ["model and schedule", "temperature", *(about for about, *_ in costs.values())]
    head += [*(one["name"] for one in measures), *bounds.values()]
    cells = []
    for one, row in rows:
        line = [label(one, row["schedule"]), f"{row['temperature']:g}"]
        line += [shown.format(row[name] * unit) if name in row else "" for name, (_, unit, shown) in costs.items()]
        line += [_score(row, measure) for measure in measures]
        line += [_score(row, {"name": name, "digits": 4}) for name in bounds]
        cells.append(line)
    return "\n".join(_table(head, cells))


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
    if any("seconds" in row for one in comparison.results for row in one.rows):
        rounds = settings["timing_rounds"]
        told.append(f"Milliseconds are medians of {rounds} rounds in which all runs of a model take turns.")
    return "\n".join(f"* {line}" for line in told)


def _score(row: Row | None, measure: dict[str, Any]) -> str:
    name, digits = measure["name"], measure["digits"]
    if row is None or name not in row:
        return ""
    error = row.get(f"{name}_stderr")
    return f"{row[name]:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]
