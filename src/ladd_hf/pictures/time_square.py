"""The time square as a map of losses, with paths and runs on it. Paper, sections 7 and 8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..diffusion.loss_table import LossTable
from ..diffusion.paths import Point
from ..diffusion.time_axes import Numbers
from ..utils.optional_packages import optional_package
from .drawing import COLOUR_MAP, LINES, MARKERS, colour, new_figure

Points = Sequence[Point]


def time_square_figure(
    table: LossTable, paths: Mapping[str, Points] | None = None, runs: Mapping[str, Points] | None = None
) -> Any:
    """Draws the losses of tokens and of latents over (t_x, t_y), per token of a text, and paths and runs on both.

    The bound of a run is the sum over its steps of these losses times the rise of the share that is clean (of half the
    signal-to-noise ratio, of continuous latents); for latents from anchors it is shown what a step to clean ones costs.
    Points at which no run of the model moves a channel are blank.

    Args:
        table: as `tune_schedule` measures it (`scheduler.table`); without latents, its losses are a curve over t_x.
        paths: corners (t_x, t_y) by name, drawn as lines.
        runs: points of runs by name, such as `scheduler.run(4)`, drawn with a mark at each.

    Returns a matplotlib `Figure`; needs the extra `plot`.
    """
    paths, runs = paths or {}, runs or {}
    if not table.has_latents:
        return _curve(table, runs)
    figure = new_figure(2)
    x, y = table.token_axis.measured_times, table.latent_axis.measured_times
    known = _known(table)
    for axes, name, losses, seen in zip(
        figure.axes, ("tokens", "latents"), (table.token_losses, table.latent_surface), known, strict=True
    ):
        shown = np.ma.masked_array(losses / table.num_tokens, ~seen)
        mesh = axes.pcolormesh(x, y, shown.T, shading="nearest", cmap=COLOUR_MAP)
        squared = name == "latents" and table.latent_axis.gaussian and table.latent_losses.ndim == 2
        figure.colorbar(mesh, ax=axes, label=f"{'squared error' if squared else 'nats'} per token of the text")
        _draw_paths(axes, paths, runs)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="time of tokens, $t_x$", title=f"Loss of {name}")
    figure.axes[0].set_ylabel("time of latents, $t_y$")
    if paths or runs:
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _known(table: LossTable) -> tuple[Any, Any]:
    """Returns the points at which runs move tokens, and latents, `(g_x, g_y)` bool each."""
    tokens, latents = (np.ones(table.token_losses.shape, dtype=bool) for _ in range(2))
    if table.latents_first:
        tokens[:, :-1] = False
        latents[1:] = False
    return tokens, latents


def _draw_paths(axes: Any, paths: Mapping[str, Points], runs: Mapping[str, Points]) -> None:
    effects = optional_package("matplotlib.patheffects", "matplotlib", "plot", "A picture")
    seen = [effects.withStroke(linewidth=3, foreground="white")]  # on light and dark colours
    for number, (name, points) in enumerate(paths.items()):
        style = {"linestyle": LINES[1 + number % 3], "color": "black", "path_effects": seen}
        axes.plot(*_columns(points), linewidth=1.2, label=name, clip_on=False, **style)
    for number, (name, points) in enumerate(runs.items()):
        style = {"marker": MARKERS[number % len(MARKERS)], "color": colour(number + 1), "markeredgecolor": "white"}
        size = 10 - 2 * (number % 3)  # later runs do not hide earlier ones
        axes.plot(*_columns(points), linewidth=1.5, markersize=size, label=name, clip_on=False, zorder=3, **style)


def _columns(points: Points) -> tuple[Numbers, Numbers]:
    x, y = np.asarray(points, dtype=np.float64).T
    return x, y


def _curve(table: LossTable, runs: Mapping[str, Points]) -> Any:
    """Draws the tokens' losses of a model without latents, and the times at which runs evaluate it."""
    figure = new_figure(width=6)
    (axes,) = figure.axes
    times, losses, errors = (
        table.token_axis.measured_times,
        table.token_losses[:, 0] / table.num_tokens,
        table.token_errors[:, 0] / table.num_tokens,
    )
    axes.errorbar(times, losses, errors, color=colour(0), capsize=2, label="measured")
    for number, (name, points) in enumerate(runs.items()):
        at = _columns(points)[0][:-1]  # the last point is the end of the last step
        heights = np.interp(at, times[::-1], losses[::-1])
        axes.plot(at, heights, MARKERS[number % len(MARKERS)], color=colour(number + 1), label=name)
    axes.set(xlabel="time of tokens, $t_x$", ylabel="nats per token of the text", title="Loss of tokens")
    axes.legend()
    return figure
