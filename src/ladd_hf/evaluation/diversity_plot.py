"""A plot of quality against the diversity of samples, over temperatures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count
from typing import Any

from ..pictures.drawing import BASELINE, LINES, MARKERS, colour, new_figure
from .comparison import Comparison, label
from .results import Row

_LINE = 0.22  # inches of a line of the legend
_TEMPERATURE = re.compile(r",? *(latent_)?temperature [\d.]+")


def diversity_figure(comparison: Comparison, measure: str = "entropy", names: Mapping[str, str] | None = None) -> Any:
    """Draws the main measure against the diversity of the samples: a panel for each number of evaluations, a line for
    each model and schedule through its temperatures, a star for the data itself.

    Runs further to the right at the same height, or lower at the same place, are better. The baseline is grey.

    Args:
        comparison: holds rows at several temperatures.
        measure: of diversity: a number of the rows.
        names: chooses lines by their labels, a model and a schedule without its temperatures, and what the legend calls
            them; all by default.

    Returns a matplotlib `Figure`; needs the extra `plot`. Raises `ValueError` if no rows have the measure, and for a
    name of no line.
    """
    main = comparison.main["name"]
    lines: dict[str, list[Row]] = {}
    model_of: dict[str, str] = {}
    for one in comparison.results:
        for row in one.rows:
            if measure in row and main in row:
                own = _TEMPERATURE.sub("", label(one, row["schedule"]))
                lines.setdefault(own, []).append(row)
                model_of[own] = one.model["name"]
    if not lines:
        raise ValueError(f"No samples have {measure!r}: evaluate them with a judge that gives it, such as 'entropy'.")
    names = {one: one for one in lines} if names is None else names
    if unknown := [one for one in names if one not in lines]:
        raise ValueError(f"`names` has {unknown[0]!r}, which is no line; those are {', '.join(lines)}.")
    budgets = sorted({row["num_steps"] for one in names for row in lines[one]})
    figure = new_figure(len(budgets), width=3.2, sharey=True)
    reference, base = comparison.results[0].task["reference"], comparison.baseline_model.model["name"]
    numbers = count()
    models = list(dict.fromkeys(model_of[one] for one in names))
    shades = {one: BASELINE if one == base else colour(next(numbers)) for one in models}
    for axes, budget in zip(figure.axes[: len(budgets)], budgets, strict=True):
        drawn = dict.fromkeys(models, 0)
        for line, told in names.items():
            model = model_of[line]
            there = [row for row in lines[line] if row["num_steps"] == budget]
            rows = sorted(there, key=lambda row: float(row[measure]))
            place, drawn[model] = drawn[model], drawn[model] + 1
            axes.plot(
                [row[measure] for row in rows],
                [row[main] for row in rows],
                color=shades[model],
                linestyle=LINES[place % len(LINES)],
                marker=MARKERS[place % len(MARKERS)],
                label=told,
            )
        if measure in reference and main in reference:
            axes.plot(reference[measure], reference[main], "*", color="black", markersize=10, label="the data itself")
        axes.set_title(f"{budget} evaluations")
        axes.set_xlabel(measure.replace("_", " "))
    figure.axes[0].set_ylabel(f"{comparison.main['metric']} under the judge")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.set_figheight(figure.get_figheight() + _LINE * len(labels))
    figure.legend(handles, labels, loc="outside lower left")
    return figure
