"""Best runs between the points of a grid, by dynamic programming: V_n(p) = min over q of [step p -> q] + V_(n-1)(q)."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from .loss_table import LossTable
from .run_grid import RunGrid, State, usual_parts
from .time_axes import Numbers

ROUNDING = 1e-9  # of budgets in units that are not whole


class GridRuns(ABC):
    """Best runs under a table, solved when they are asked for; what is solved is kept.

    Args:
        table: the losses.
        parts: divisions of the gaps between the table's times; by default as many as are solved in about a second.
    """

    def __init__(self, table: LossTable, parts: int | None = None) -> None:
        self.table = table
        self.grid = RunGrid(table, usual_parts(table) if parts is None else parts)

    @property
    @abstractmethod
    def least_budget(self) -> int:
        """The smallest whole budget that has a run."""

    @abstractmethod
    def states(self, budget: int) -> list[State] | None:
        """Returns the states of the best run on the grid, first to last, or `None` if the grid has none."""

    def places(self, budget: int) -> Numbers | None:
        """Returns its places on the table's two axes, `(steps + 1, 2)`, or `None`."""
        states = self.states(budget)
        if states is None:
            return None
        rows, columns = np.array(states).T
        return np.stack([self.grid.x[rows], self.grid.y[columns]], axis=1)


class RunsBySteps(GridRuns):
    """Best runs of exactly N steps."""

    def __init__(self, table: LossTable, parts: int | None = None) -> None:
        super().__init__(table, parts)
        self._values = [self.grid.clean_end()]  # by the number of steps

    @property
    def least_budget(self) -> int:
        """1, or 2 if the latents come first."""
        return 2 if self.table.latents_first and self.table.has_latents else 1

    def states(self, budget: int) -> list[State] | None:
        """Returns the states of the best run of `budget` steps, or `None` if the grid has no room for so many."""
        if budget > sum(self.grid.shape) - 2:
            return None
        while len(self._values) <= budget:
            later = self._values[-1]
            self._values.append(np.minimum(self.grid.after_tokens(later), self.grid.after_latents(later)))
        if not np.isfinite(self._values[budget][0, 0]):
            return None
        states: list[State] = [(0, 0)]
        for later in reversed(self._values[:budget]):
            options = (self.grid.best_tokens(states[-1], later), self.grid.best_latents(states[-1], later))
            states.append(min(options)[1])
        return states


class RunsByCost(GridRuns):
    """Best runs of at most a given cost; a step that moves tokens costs 1.

    Exact on the grid: the least bound is known for every pair of numbers of steps of the two kinds.

    Args:
        table: the losses.
        latent_cost: cost of a step that moves latents alone, above 0.
        parts: as in [`GridRuns`].
    """

    def __init__(self, table: LossTable, latent_cost: float, parts: int | None = None) -> None:
        few = max(1, usual_parts(table) // 2) if table.has_latents and not table.latents_first else None
        super().__init__(table, few if parts is None else parts)
        self.latent_cost = latent_cost
        self._values: dict[State, Numbers] = {(0, 0): self.grid.clean_end()}  # by the numbers of the two kinds

    @property
    def least_budget(self) -> int:
        """1, or what one step of each kind costs if the latents come first."""
        both = 1 + self.latent_cost if self.table.latents_first and self.table.has_latents else 1.0
        return int(np.ceil(both - ROUNDING))

    def states(self, budget: int) -> list[State] | None:
        """Returns the states of the best run that costs at most `budget`; of several, of the cheapest."""
        best: tuple[float, float, State] | None = None
        for tokens in range(1, min(budget, self.grid.shape[0] - 1) + 1):
            most = int((budget - tokens) / self.latent_cost + ROUNDING)
            for latents in range(min(most, self.grid.shape[1] - 1) + 1):
                nats = float(self._solved(tokens, latents)[0, 0])
                found = (nats, tokens + latents * self.latent_cost, (tokens, latents))
                best = found if np.isfinite(nats) and (best is None or found < best) else best
        return None if best is None else self._followed(best[2])

    def _solved(self, tokens: int, latents: int) -> Numbers:
        """Returns the values of runs of so many steps of the two kinds, which are asked for in rising order."""
        if (known := self._values.get((tokens, latents))) is not None:
            return known
        values = np.full(self.grid.shape, np.inf)
        if tokens:
            values = self.grid.after_tokens(self._solved(tokens - 1, latents))
        if latents:
            values = np.minimum(values, self.grid.after_latents(self._solved(tokens, latents - 1)))
        self._values[tokens, latents] = values
        return values

    def _followed(self, left: State) -> list[State]:
        tokens, latents = left
        states: list[State] = [(0, 0)]
        while tokens or latents:
            nothing = (np.inf, states[-1])
            of_tokens = self.grid.best_tokens(states[-1], self._solved(tokens - 1, latents)) if tokens else nothing
            of_latents = self.grid.best_latents(states[-1], self._solved(tokens, latents - 1)) if latents else nothing
            if of_tokens <= of_latents:
                tokens -= 1
            else:
                latents -= 1
            states.append(min(of_tokens, of_latents)[1])
        return states
