"""The steps of runs between the points of a grid, and the cheapest of them: one stage of a dynamic programme."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .loss_table import LossTable
from .time_axes import Numbers, TimeAxis

# Most points on a side of a grid with two sides, and of one with a single side: a stage then takes milliseconds.
_LARGEST = {True: 48, False: 384}
_MOST_PARTS = 8

State = tuple[int, int]
Places = NDArray[np.int64]


def usual_parts(table: LossTable) -> int:
    """Returns into how many parts the gaps between measured times are divided: the most that are solved at once."""
    cells = max(len(axis.measured) - 1 for axis in (table.token_axis, table.latent_axis))
    return int(np.clip(_LARGEST[table.has_latents] // max(cells, 1), 1, _MOST_PARTS))


class RunGrid:
    """Points of the time square, (0, 0) the noisy end, and the nats of the steps between them.

    A step moves tokens (and perhaps latents), or latents alone. The best value of a state is the least bound of a run
    from there to the clean end; `values` are `(g_x, g_y)` arrays of them, infinite where no run gets there.

    Args:
        table: the losses.
        parts: divisions of the gaps between measured times, at whose ends losses are interpolated.
    """

    def __init__(self, table: LossTable, parts: int) -> None:
        axes: tuple[TimeAxis, TimeAxis] = (table.token_axis, table.latent_axis)
        self.x, self.y = (axis.places_between(parts) for axis in axes)
        self._alpha = table.token_axis.progress_at(self.x)
        self._token_losses, self._latent_nats = table.losses_between(self.x, self.y)
        everywhere = tuple(np.arange(size) for size in self.shape)
        # rows in which latents move, and columns in which tokens do
        self._rows = everywhere[0][:1] if table.latents_first else everywhere[0]
        self._columns = everywhere[1][-1:] if table.latents_first else everywhere[1]
        self._not_back = np.where(np.tri(len(self.y), k=-1, dtype=bool), np.inf, 0.0)  # (from, to)

    @property
    def shape(self) -> State:
        """Number of points on the tokens' and on the latents' side."""
        return len(self.x), len(self.y)

    def clean_end(self) -> Numbers:
        """Returns the values of no step at all: 0 at the clean end, infinite elsewhere."""
        values = np.full(self.shape, np.inf)
        values[-1, -1] = 0.0
        return values

    def after_tokens(self, values: Numbers) -> Numbers:
        """Returns the least nats of a step that moves tokens, from each state, together with `values` where it ends."""
        best = np.full(self.shape, np.inf)
        for i in range(self.shape[0] - 1):
            best[i, self._columns] = self._of_tokens(i, self._columns, values).min((1, 2))
        return best

    def after_latents(self, values: Numbers) -> Numbers:
        """Returns the same of a step that moves latents alone."""
        best = np.full(self.shape, np.inf)
        best[self._rows] = self._of_latents(self._rows, values).min(-1)
        return best

    def best_tokens(self, state: State, values: Numbers) -> tuple[float, State]:
        """Returns the nats of the best step that moves tokens from a state, and where it ends."""
        i, j = state
        if i == self.shape[0] - 1 or j not in self._columns:
            return np.inf, state
        nats = self._of_tokens(i, np.array([j]), values)[0]
        k, end = np.unravel_index(nats.argmin(), nats.shape)
        return float(nats[k, end]), (i + 1 + int(k), int(end))

    def best_latents(self, state: State, values: Numbers) -> tuple[float, State]:
        """Returns the same of a step that moves latents alone."""
        i, j = state
        if i not in self._rows:
            return np.inf, state
        nats = self._of_latents(np.array([i]), values)[0, j]
        return float(nats.min()), (i, int(nats.argmin()))

    def _of_tokens(self, i: int, columns: Places, values: Numbers) -> Numbers:
        """Nats from (i, each column) to (every later row, every column), `(columns, rows, columns)`."""
        of_latents = self._latent_nats[i, columns] + self._not_back[columns]
        of_tokens = (self._alpha[i + 1 :] - self._alpha[i]) * self._token_losses[i, columns, None]
        return of_latents[:, None, :] + values[None, i + 1 :] + of_tokens[:, :, None]

    def _of_latents(self, rows: Places, values: Numbers) -> Numbers:
        """Nats from each state of some rows to every other column of its row, `(rows, from, to)`."""
        forward = self._not_back + np.diag(np.full(self.shape[1], np.inf))
        return self._latent_nats[rows] + forward + values[rows, None, :]
