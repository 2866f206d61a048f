"""Runs of the least bound for their budget. Paper, sections 7, 8.

The bound of a run is a sum over its steps, and what a step costs depends on nothing but its two ends, so that the best
run is a shortest path. The end is (0, 0) for every run. With a free end the plain bound would rather never write the
latents: it charges for a text's own code in full, though other codes would have given the text as well, so that tokens
alone are cheaper to bound, and worse to sample.
"""

from __future__ import annotations

import numpy as np

from .divided_runs import divided, run_cost
from .grid_runs import GridRuns, RunsByCost, RunsBySteps
from .loss_table import LossTable
from .paths import Point
from .time_axes import Numbers


class OptimalRuns:
    """Best runs under a table, solved when they are asked for; what is solved is kept.

    They are the best on a grid. Budgets of more than half as many steps as the grid has points on the tokens' side may
    instead divide steps of the next smaller budget's run, if that has the smaller bound.

    Args:
        table: the losses.
        latent_cost: cost of a step that moves latents alone, where one that moves tokens costs 1: a run costs at most
            its budget. `None`: a budget is the exact number of steps.
        parts: grid points per gap between the table's times; by default as many as are solved in about a second.
    """

    def __init__(self, table: LossTable, latent_cost: float | None = None, parts: int | None = None) -> None:
        self.table = table
        self._exact, self._latent_cost = latent_cost is None, latent_cost or 1.0
        by_cost = self._latent_cost != 1  # else a budget is a number of steps as well
        self.grid_runs: GridRuns = RunsByCost(table, self._latent_cost, parts) if by_cost else RunsBySteps(table, parts)
        self._solved: dict[int, Numbers] = {}

    @property
    def least_budget(self) -> int:
        """The smallest budget that has a run."""
        return self.grid_runs.least_budget

    def run(self, budget: int) -> list[Point]:
        """Returns the points (t_x, t_y) of the best run, first to last.

        Raises `ValueError` for a budget below `least_budget`.
        """
        if budget < self.least_budget:
            raise ValueError(
                f"`num_steps` is {budget}, but the shortest run takes {self.least_budget}, for its latents are written "
                f"before its tokens: give at least {self.least_budget}."
            )
        for smaller in range(min(budget, self._on_grid + 1), budget + 1):
            if smaller not in self._solved:
                self._solved[smaller] = self._solve(smaller)
        x, y = self._solved[budget].T
        times = self.table.token_axis.times_at(x), self.table.latent_axis.times_at(y)
        return [(float(t_x), float(t_y)) for t_x, t_y in zip(*times, strict=True)]

    @property
    def _on_grid(self) -> int:
        """Largest budget that is solved on the grid alone."""
        return max((self.grid_runs.grid.shape[0] - 1) // 2, self.least_budget)

    def _solve(self, budget: int) -> Numbers:
        found = self.grid_runs.places(budget)
        if budget <= self._on_grid and found is not None:
            return found
        shorter = self._solved.get(budget - 1)
        if shorter is None:
            shorter = self._solve(budget - 1)
        room = budget - run_cost(shorter, self._latent_cost)
        longer = divided(self.table, shorter, room, self._latent_cost, use_up=self._exact)
        return longer if found is None or self._nats(longer) < self._nats(found) else found

    def _nats(self, places: Numbers) -> float:
        steps = np.concatenate([places[:-1], places[1:]], axis=1)  # (steps, 4)
        return float(self.table.step_nats(*steps.T).sum())
