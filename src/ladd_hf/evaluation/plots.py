"""Plots of evaluated models: quality against cost, with error bars."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from ..pictures.drawing import BASELINE, LINES, MARKERS, colour, new_figure
from .comparison import AXES, Comparison, label
from .markdown import at_temperature

_WIDE = 40  # characters of a label that would hide the curves beside it
_MANY = 6  # curves, whose legend would hide them
_LINE = 0.22  # inches of a line of the legend


def quality_figure(comparison: Comparison, temperature: float = 1.0, names: Mapping[str, str] | None = None) -> Any:
    """Draws the main measure against each cost that was measured, side by side, with standard errors.

    A model has a colour, that of the baseline grey; a schedule has a kind of line and of marks. The dotted line is the
    score of the data itself, with its standard error. `names` chooses curves by their labels (`MODEL SCHEDULE`), and
    what the legend calls them; all of them, by their labels, are shown by default.

    Returns a matplotlib `Figure`; needs the extra `plot`. Raises `ValueError` if no samples of that temperature were
    scored, and for a name of no curve.
    """
    main = comparison.main
    name, error = main["name"], f"{main['name']}_stderr"
    curves = {axis: comparison.curves(axis, temperature) for axis in AXES}
    scored = {
        axis: {key: kept for key, rows in of_axis.items() if (kept := [row for row in rows if name in row])}
        for axis, of_axis in curves.items()
    }
    shown = [axis for axis, of_axis in scored.items() if of_axis]
    if not shown:
        raise ValueError(
            f"No samples {at_temperature(temperature)} were scored by {name!r}: give one of {comparison.temperatures}."
        )
    there = scored[shown[0]]
    names = {one: one for one in there} if names is None else names
    if not names:
        raise ValueError(f"`names` is empty; choose some of {', '.join(there)}.")
    if unknown := [one for one in names if one not in there]:
        raise ValueError(f"`names` has {unknown[0]!r}, which is no curve; those are {', '.join(there)}.")
    figure = new_figure(len(shown), sharey=True)
    schedules = list(dict.fromkeys(row["schedule"] for one in comparison.results for row in one.rows))
    reference = comparison.results[0].task["reference"]
    base, numbers = comparison.baseline_model.model["name"], count()
    shades = {
        one.model["name"]: BASELINE if one.model["name"] == base else colour(next(numbers))
        for one in comparison.results
    }
    for axes, axis in zip(figure.axes, shown, strict=True):
        for one in comparison.results:
            for place, schedule in enumerate(schedules):
                own = label(one, schedule)
                if own in names and (rows := scored[axis].get(own)):
                    errors = [row.get(error, 0.0) for row in rows] if any(error in row for row in rows) else None
                    axes.errorbar(
                        [row[axis] for row in rows],
                        [row[name] for row in rows],
                        errors,
                        color=shades[one.model["name"]],
                        linestyle=LINES[place % len(LINES)],
                        marker=MARKERS[place % len(MARKERS)],
                        capsize=2,
                        label=names[own],
                    )
        if name in reference:
            axes.axhline(reference[name], color="black", linestyle=":", label="the data itself")
            if spread := reference.get(error):
                axes.axhspan(reference[name] - spread, reference[name] + spread, color="black", alpha=0.1, linewidth=0)
        axes.set_xscale("log")
        if axis == "nfe":
            budgets = sorted({row[axis] for rows in scored[axis].values() for row in rows})
            axes.set_xticks(budgets, [f"{one:g}" for one in budgets])
            axes.minorticks_off()
        else:
            _tell_ticks(axes.xaxis)
        axes.set_xlabel(f"{AXES[axis]} per sample")
    figure.axes[0].set_ylabel(f"{main['metric']} under the judge")
    if max(map(len, names.values())) < _WIDE and len(names) < _MANY:
        figure.axes[0].legend()
    else:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.set_figheight(figure.get_figheight() + _LINE * len(labels))
        figure.legend(handles, labels, loc="outside lower left")
    return figure


def _tell_ticks(axis: Any) -> None:
    """Labels 1, 2 and 5 of each decade, of which matplotlib's own labels run into each other within two of them."""
    low, high = axis.get_view_interval()
    if high < 100 * low:
        places = [lead * 10.0**power for power in range(-9, 19) for lead in (1, 2, 5)]
        ticks = [one for one in places if low <= one <= high]
        axis.set_ticks(ticks, [f"{one:g}" for one in ticks])
        axis.set_minor_formatter(lambda *_: "")
