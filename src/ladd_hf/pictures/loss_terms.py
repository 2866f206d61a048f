"""The terms of the loss, and what else is logged with them, over a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .drawing import BASELINE, colour, new_figure

# Numbers in a trainer's log that are no terms.
_OTHERS = ("epoch", "step", "grad_norm", "learning_rate", "num_input_tokens_seen")
_WIDEST = 3  # panels side by side


def logged_terms(log_history: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """Returns steps and values of each number that is logged with the loss, by name: its terms, and what else is
    watched, such as the codes in use. Those that are always 0 are left out.

    Args:
        log_history: of a trainer's state, or of `trainer_state.json`.

    Raises `ValueError` for a history without losses.
    """
    rows = [row for row in log_history if "loss" in row and "step" in row]
    if not rows:
        raise ValueError("The log has no entry with `loss` and `step`: give the `log_history` of a run that trained.")
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in _OTHERS]
    terms = {}
    for name in names:
        having = [row for row in rows if isinstance(row.get(name), int | float)]
        if name == "loss" or any(row[name] != 0 for row in having):
            terms[name] = [row["step"] for row in having], [float(row[name]) for row in having]
    return terms


def loss_figure(log_history: Sequence[Mapping[str, Any]], stages: Sequence[tuple[str, int]] = ()) -> Any:
    """Draws every term of the loss over the steps, and what else is logged with it, a panel for each, with the stages.

    Args:
        log_history: of a trainer's state, or of `trainer_state.json`.
        stages: names and numbers of steps, in order.

    Returns a matplotlib `Figure`; needs the extra `plot`. Raises `ValueError` for a history without losses.
    """
    terms = logged_terms(log_history)
    columns = min(len(terms), _WIDEST)
    rows = math.ceil(len(terms) / columns)
    figure = new_figure(columns, rows, width=4, height=2.8)
    for number, (axes, (name, (steps, values))) in enumerate(zip(figure.axes, terms.items(), strict=False)):
        axes.plot(steps, values, color=colour(number), marker=".")
        axes.set_title(name.replace("_", " "))
        _mark_stages(axes, stages)
        axes.set_xlim(0)
        axes.set_xlabel("step")
    for axes in figure.axes[len(terms) :]:
        axes.remove()
    return figure


def _mark_stages(axes: Any, stages: Sequence[tuple[str, int]]) -> None:
    """Draws a line where a stage begins, and its name beside it."""
    start = 0
    for place, (name, steps) in enumerate(stages):
        if place:
            axes.axvline(start, color=BASELINE, linestyle=":", linewidth=1)
        if len(stages) > 1:
            place_of_name = {"xycoords": ("data", "axes fraction"), "xytext": (3, -3), "textcoords": "offset points"}
            style = {"rotation": 90, "va": "top", "fontsize": "x-small", "color": BASELINE}
            axes.annotate(name, (start, 1), **place_of_name, **style)
        start += steps
