"""Frequencies of a codebook's codes, from the most frequent to the dead ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..metrics.code_usage import usage_of_codes
from ..utils.optional_packages import optional_package
from .drawing import COLOUR_MAP, new_figure

_LABELLED = 6  # positions that a legend names


def code_usage_figure(codes: ArrayLike, codebook_size: int) -> Any:
    """Draws the sorted frequencies of codes, over all positions and at each of them, with their perplexities.

    A line ends where codes are dead. The dotted line is what all codes have if they are used alike.

    Args:
        codes: `(N, M)` of N texts, such as `model.encode_latents` gives.
        codebook_size: K.

    Returns a matplotlib `Figure`; needs the extra `plot`. Raises `ValueError` for what are no codes of this codebook.
    """
    usage = usage_of_codes(codes, codebook_size)
    figure = new_figure(width=6.5)
    (axes,) = figure.axes
    rows = np.asarray(codes)
    number = rows.shape[1]
    if number > 1:
        shades = _shades(number)
        for place, column in enumerate(rows.T):
            label = f"position {place}: perplexity {usage.perplexity_of_positions[place]:.1f}"
            named = label if number <= _LABELLED or place in (0, number - 1) else None
            axes.plot(*_ranked(column, codebook_size), color=shades[place], linewidth=1, alpha=0.7, label=named)
    error = "" if usage.perplexity.stderr is None else f" ± {usage.perplexity.stderr:.1f}"
    label = f"all positions: perplexity {usage.perplexity.value:.1f}{error}"
    axes.plot(*_ranked(rows.ravel(), codebook_size), color="black", linewidth=2, label=label)
    axes.axhline(1 / codebook_size, color="black", linestyle=":", label="all codes alike")
    axes.set_yscale("log")
    axes.set_xlim(0, codebook_size + 1)
    axes.set(xlabel="rank of the code", ylabel="frequency")
    axes.set_title(f"{usage.used:,} of {codebook_size:,} codes used, {usage.dead:,} dead ({len(rows):,} texts)")
    axes.legend()
    return figure


def _ranked(codes: NDArray[Any], codebook_size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Returns ranks from 1, and the frequencies of the codes that occur, falling."""
    counts = np.sort(np.bincount(codes, minlength=codebook_size))[::-1]
    counts = counts[counts > 0]
    return np.arange(1, len(counts) + 1), counts / counts.sum()


def _shades(number: int) -> list[Any]:
    maps = optional_package("matplotlib", "matplotlib", "plot", "A picture").colormaps
    return [maps[COLOUR_MAP](share) for share in np.linspace(0, 0.9, number)]
