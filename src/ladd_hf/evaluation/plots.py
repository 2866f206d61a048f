"""Plots of evaluated models: quality against cost, with error bars."""

from __future__ import annotations

from pathlib import Path

from ..utils.optional_packages import optional_package
from .comparison import AXES, Comparison


def plot_quality(comparison: Comparison, path: str | Path, temperature: float = 1.0) -> None:
    """Plots the main measure against each cost that was measured, side by side, as an image.

    Raises `ValueError` if no row of this temperature has scores. Needs matplotlib (the extra `plot`).
    """
    drawing = optional_package("matplotlib.figure", "matplotlib", "plot", "A plot")
    main = comparison.main
    shown = [axis for axis in AXES if comparison.curves(axis, temperature)]
    if not shown:
        raise ValueError(
            f"No samples of temperature {temperature:g} were scored: give one of {comparison.temperatures}."
        )
    figure = drawing.Figure(figsize=(5 * len(shown), 4))  # not pyplot's, whose state is the user's
    grid = figure.subplots(1, len(shown), sharey=True, squeeze=False)
    for axes, axis in zip(grid[0], shown, strict=True):
        for name, rows in comparison.curves(axis, temperature).items():
            scores = [row[main["name"]] for row in rows]
            errors = [row.get(f"{main['name']}_stderr", 0.0) for row in rows]  # no bar where it is not known
            axes.errorbar([row[axis] for row in rows], scores, yerr=errors, marker="o", capsize=2, label=name)
        axes.axhline(comparison.results[0].task["reference"][main["name"]], color="black", linestyle=":")
        axes.set_xscale("log")
        axes.set_xlabel(f"{AXES[axis]} per sample")
    grid[0][0].set_ylabel(f"{main['metric']} under the judge")
    grid[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)
