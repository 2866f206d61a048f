"""Runs of more steps than a grid has room for: a shorter run with some of its steps divided."""

from __future__ import annotations

import itertools

import numpy as np

from .grid_runs import ROUNDING
from .loss_table import LossTable
from .time_axes import Numbers

# Points at which a step may be divided, on each side of the square at its start, in its middle or at its end: in half,
# or so that one channel moves before the other.
_DIVISIONS = [one for one in itertools.product(range(3), repeat=2) if one not in ((0, 0), (2, 2))]


def run_cost(places: Numbers, latent_cost: float) -> float:
    """Returns the cost of a run: 1 for each step that moves tokens, `latent_cost` for those of latents alone."""
    tokens = places[1:, 0] > places[:-1, 0]
    return float(np.where(tokens, 1.0, latent_cost).sum())


def divided(table: LossTable, places: Numbers, room: float, latent_cost: float, use_up: bool) -> Numbers:
    """Divides steps of a run, one after the other, each time the one whose bound falls most for what it adds in cost.

    Args:
        table: the losses.
        places: the run's places on the table's axes, `(steps + 1, 2)`.
        room: cost that may be added; a step that moves tokens costs 1.
        latent_cost: cost of a step that moves latents alone.
        use_up: divide on while there is room, even if the bound does not fall.

    Returns:
        The run with more points.
    """
    while (found := _best_division(table, places, room, latent_cost, use_up)) is not None:
        at, point = found
        longer = np.insert(places, at + 1, point, axis=0)
        room -= run_cost(longer, latent_cost) - run_cost(places, latent_cost)
        places = longer
    return places


def _best_division(
    table: LossTable, places: Numbers, room: float, latent_cost: float, use_up: bool
) -> tuple[int, Numbers] | None:
    """Returns the number of the step to divide and the point, or `None` if none is worth it."""
    levels = np.stack([places[:-1], (places[:-1] + places[1:]) / 2, places[1:]])  # (3, steps, 2)
    middle = np.stack(
        [np.stack([levels[i, :, 0], levels[j, :, 1]], -1) for i, j in _DIVISIONS]
    )  # (divisions, steps, 2)
    first, last = (np.broadcast_to(levels[end], middle.shape) for end in (0, 2))
    inside = (middle != first).any(-1) & (middle != last).any(-1)

    def nats(start: Numbers, end: Numbers) -> Numbers:
        flat = [one.ravel() for one in (start[..., 0], start[..., 1], end[..., 0], end[..., 1])]
        return table.step_nats(*flat).reshape(inside.shape)

    def cost(start: Numbers, end: Numbers) -> Numbers:
        return np.where(start[..., 0] < end[..., 0], 1.0, latent_cost)

    gain = nats(first, last) - nats(first, middle) - nats(middle, last)
    added = cost(first, middle) + cost(middle, last) - cost(first, last)
    allowed = inside & (added <= room + ROUNDING) & ((gain > 0) | use_up)
    worth = np.where(allowed, gain / added, -np.inf)
    division, step = np.unravel_index(worth.argmax(), worth.shape)
    return (int(step), middle[division, step]) if allowed[division, step] else None
