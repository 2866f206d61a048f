"""Tables of models beside the baseline at equal cost, in Markdown."""

from __future__ import annotations

from .changes import Change
from .comparison import AXES, Comparison
from .equal_cost import EqualCost
from .markdown import at_temperature, number, table

COSTS = {"nfe": ("evaluations", 1.0, "{:.0f}"), "flops": ("MFLOPs", 1e-6, "{:.1f}"), "seconds": ("ms", 1e3, "{:.2f}")}


def equal_cost_tables(comparison: Comparison, temperature: float) -> list[str]:
    """Formats, for each curve but the baseline's, the change from the baseline at equal evaluations, and its score at
    the operations and seconds of each run."""
    return [*_at_equal_evaluations(comparison, temperature), *_at_equal_cost(comparison, temperature)]


def about_changes(comparison: Comparison) -> str:
    """Describes how changes and their errors come about, in sentences."""
    told = (
        "At equal cost: between two of its runs the baseline's score and its standard error are taken as linear in the "
        "cost's logarithm. "
    )
    if not comparison.by_seed:
        return told + "± of a change: by propagation from both scores' errors, as if they were independent."
    return told + (
        "A change is that of the mean scores; in brackets those at each seed, of which ± is the standard error of the "
        "mean, or, where a seed has none, by propagation from both mean scores' errors."
    )


def _at_equal_evaluations(comparison: Comparison, temperature: float) -> list[str]:
    """Formats the change, and the share of the distance to the data that is closed where its own score is known and
    the two are not the same: a line per curve, a column per number of evaluations."""
    runs, parts = comparison.all_at_equal_cost("nfe", temperature), []
    budgets = sorted({run.num_steps for of_curve in runs.values() for run in of_curve})
    name, exact = comparison.main["name"], comparison.results[0].task["exact"]
    baseline = comparison.baseline(temperature=temperature)
    closed = f"Share of the distance of {baseline} to the data that is closed"
    titles = {} if exact else {"change": f"Change of {_measure(comparison)} from {baseline}"}
    titles |= {"closed": closed} if name in comparison.results[0].task["reference"] else {}
    seeds = [str(one.results[0].settings["seed"]) for one in comparison.by_seed]
    told = f" (at seeds {', '.join(seeds)})" if seeds else ""
    for kind, title in titles.items():
        cells = []
        for curve, of_curve in runs.items():
            found: dict[int, Change | None] = {run.num_steps: getattr(run, kind) for run in of_curve}
            cells.append([curve, *(_change_cell(found.get(budget), by_seed=True) for budget in budgets)])
        head = [f"evaluations{told}", *map(str, budgets)]
        if any(cell for line in cells for cell in line[1:]):
            parts.append(f"#### {title}, at equal evaluations, {at_temperature(temperature)}\n\n{table(head, cells)}")
    return parts


def _at_equal_cost(comparison: Comparison, temperature: float) -> list[str]:
    main, parts = comparison.main, []
    baseline = comparison.baseline(temperature=temperature)
    for axis in ("flops", "seconds"):
        if not (others := comparison.all_at_equal_cost(axis, temperature)):
            continue
        unit_name, unit, shown = COSTS[axis]
        cells = []
        for name, runs in others.items():
            for run in runs:
                cost, score = shown.format(run.cost * unit), number(run.score, run.score_stderr, main["digits"])
                cells.append([name, str(run.num_steps), cost, score, *_against(comparison, run)])
        head = ["model and schedule", "evaluations", unit_name, main["name"], f"{baseline} there", _change(comparison)]
        parts.append(f"#### At equal {AXES[axis]}, {at_temperature(temperature)}\n\n{table(head, cells)}")
    return parts


def _against(comparison: Comparison, run: EqualCost) -> tuple[str, str]:
    """Formats the baseline's score at a run's cost and the change, or why there is none."""
    if run.baseline is None:
        ends = {"below": "none: its cheapest run costs more", "above": "none: its dearest run costs less"}
        return ends[str(run.beyond)], ""
    return number(run.baseline, run.baseline_stderr, comparison.main["digits"]), _change_cell(run.change)


def _change_cell(change: Change | None, by_seed: bool = False) -> str:
    """Formats a change in per cent with its error, and in brackets, if asked for, those at each seed."""
    if change is None:
        return ""
    told = f"{change.value:+.1%}" + ("" if change.stderr is None else f" ± {change.stderr:.1%}")
    if not by_seed or not change.by_seed:
        return told
    return f"{told} ({', '.join('none' if one is None else f'{one:+.0%}' for one in change.by_seed)})"


def _measure(comparison: Comparison) -> str:
    """Returns the quantity whose change is reported under a judge that is not exact."""
    name = str(comparison.main["name"])
    return "perplexity" if name == "nats" else name


def _change(comparison: Comparison) -> str:
    """Returns the heading of the changes that `Comparison.change` gives."""
    if comparison.results[0].task["exact"]:
        return "of its distance to the data, closed"
    return f"change of {_measure(comparison)}"
