"""Plots of evaluated models: quality against cost, with error bars."""

from __future__ import annotations

from pathlib import Path

from .comparison import AXES, Comparison


def plot_quality(comparison: Comparison, path: str | Path, temperature: float = 1.0) -> None:
    """Plots the main measure against each cost that was measured, side by side, as an image.

    Needs matplotlib (the extra `plot`).
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    main = comparison.main
    shown = [axis for axis in AXES if comparison.curves(axis, temperature)]
    figure, grid = pyplot.subplots(1, len(shown), figsize=(5 * len(shown), 4), sharey=True, squeeze=False)
    for axes, axis in zip(grid[0], shown, strict=True):
        for name, rows in comparison.curves(axis, temperature).items():
            scores, errors = ([row.get(key, 0.0) for row in rows] for key in (main["name"], f"{main['name']}_stderr"))
            axes.errorbar([row[axis] for row in rows], scores, yerr=errors, marker="o", capsize=2, label=name)
        axes.axhline(comparison.results[0].task["reference"][main["name"]], color="black", linestyle=":")
        axes.set_xscale("log")
        axes.set_xlabel(f"{AXES[axis]} per sample")
    grid[0][0].set_ylabel(f"{main['metric']} under the judge")
    grid[0][0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
