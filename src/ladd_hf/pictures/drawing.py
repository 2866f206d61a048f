"""Figures, and the colours that all pictures share: told apart with any colour vision, and the same in each picture."""

from __future__ import annotations

from typing import Any

from ..utils.optional_packages import optional_package

# The palette of Okabe and Ito, but for its yellow, which is too light for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
BASELINE = "#555555"
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":")
# For values: its lightness rises evenly, with any colour vision.
COLOUR_MAP = "cividis"


def new_figure(columns: int = 1, rows: int = 1, width: float = 5.0, height: float = 4.0, **options: Any) -> Any:
    """Returns a matplotlib `Figure` with a grid of axes, of `width` times `height` inches each.

    It belongs to no window and to no backend: `figure.savefig(path)` writes it. `options` are those of
    `Figure.subplots`. Raises `ImportError` without matplotlib.
    """
    figures = optional_package("matplotlib.figure", "matplotlib", "plot", "A picture")
    figure = figures.Figure(figsize=(columns * width, rows * height), layout="constrained")
    figure.subplots(rows, columns, squeeze=False, **options)
    return figure


def colour(number: int) -> str:
    """Returns the colour of the thing with a number, from 0; they repeat."""
    return COLOURS[number % len(COLOURS)]
