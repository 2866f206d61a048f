"""The losses of a denoiser over the time square, from which the bound of every run follows.

The bound of an N-step run is a sum over its steps from (t_x, t_y) to (s_x, s_y),

    sum of (alpha(s_x) - alpha(t_x)) L_x(t_x, t_y) + (progress(s_y) - progress(t_y)) L_y(t_x, t_y),

where L_x is the expected cross-entropy of the masked tokens over the probability 1 - alpha of being masked, and L_y the
same of codes, or the squared error of continuous latents. The losses do not depend on the run. Paper, sections 7, 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..utils.wrong_objects import described
from .paths import Point
from .time_axes import Numbers, TimeAxis

_LOSSES = ("token_losses", "latent_losses", "token_errors", "latent_errors")
_FIELDS = ("token_axis", "latent_axis", *_LOSSES, "num_tokens", "num_texts", "latents_first")


@dataclass(frozen=True)
class RunBound:
    """Bound of a run by a table, in nats of a text of average length.

    Attributes:
        token_nats, latent_nats: its two parts, as those of [`Nelbo`].
        stderr: largest standard error that the sum can have, given those of the losses, which have noise in common.
        num_tokens: mean number of tokens of the texts.
    """

    token_nats: float
    latent_nats: float
    stderr: float
    num_tokens: float

    @property
    def total_nats(self) -> float:
        """Sum of both parts."""
        return self.token_nats + self.latent_nats

    @property
    def nats_per_token(self) -> float:
        """Total bound divided by the mean number of tokens."""
        return self.total_nats / self.num_tokens


@dataclass(frozen=True, eq=False)
class LossTable:
    """Mean losses of texts at the points of a grid, each text counted once.

    Attributes:
        token_axis, latent_axis: times of the rows and of the columns, from noise to clean; without latents a single
            column, of time 0.
        token_losses: `(g_x, g_y)` nats of a text's tokens: the cross-entropy of its masked tokens over the probability
            of being masked, or its limit where tokens are clean. Points at which no run moves tokens have loss 0.
        latent_losses: `(g_x, g_y)`, the same of its latents, per unit of their progress.
        token_errors, latent_errors: standard errors of these means.
        num_tokens: mean number of tokens of a text.
        num_texts: number of texts.
        latents_first: True if tokens are only revealed at clean latents, as with a separate latent denoiser.

    Raises `ValueError` for losses that do not fit the axes or are not finite.
    """

    token_axis: TimeAxis
    latent_axis: TimeAxis
    token_losses: Numbers
    latent_losses: Numbers
    token_errors: Numbers
    latent_errors: Numbers
    num_tokens: float
    num_texts: int
    latents_first: bool = False

    def __post_init__(self) -> None:
        shape = (len(self.token_axis.measured), len(self.latent_axis.measured))
        for name in _LOSSES:
            losses = np.asarray(getattr(self, name), dtype=np.float64)
            if losses.shape != shape:
                raise ValueError(f"`{name}` of a table has shape {losses.shape}; its times ask for {shape}.")
            if not np.isfinite(losses).all():
                raise ValueError(
                    f"`{name}` of a table holds numbers that are not finite: look for the first non-finite weight or "
                    "activation of the model."
                )
            object.__setattr__(self, name, losses)

    @classmethod
    def parsed(cls, data: LossTable | Mapping[str, Any]) -> LossTable:
        """Returns the table that `data` wrote. Raises `ValueError` for anything else."""
        if isinstance(data, LossTable):
            return data
        if not isinstance(data, Mapping) or set(data) != set(_FIELDS):
            raise ValueError(f"`table` is {described(data)}; give the losses that `tune_schedule` measures.")
        axes = {name: TimeAxis.parsed(data[name]) for name in ("token_axis", "latent_axis")}
        return cls(**{**data, **axes})

    def data(self) -> dict[str, Any]:
        """Returns the table as JSON data."""
        data: dict[str, Any] = {name: getattr(self, name) for name in _FIELDS}
        data |= {name: data[name].data() for name in ("token_axis", "latent_axis")}
        return data | {name: data[name].tolist() for name in _LOSSES}

    @property
    def has_latents(self) -> bool:
        """True if runs have latents to write."""
        return len(self.latent_axis.times) > 1

    def from_latent_time(self, time: float) -> LossTable:
        """Returns the table of runs whose latents start at `time`: those of noisier ones are left out."""
        if time >= self.latent_axis.times[0]:
            return self
        axis, weights = self.latent_axis.from_time(time)
        return replace(self, latent_axis=axis, **{name: getattr(self, name) @ weights.T for name in _LOSSES})

    def losses_at(self, x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
        """Returns both channels' losses at points, `(n,)` each, from fractional places `(n,)` on the two axes."""
        return self._interpolated(self.token_losses, x, y), self._interpolated(self.latent_losses, x, y)

    def step_nats(self, x: Numbers, y: Numbers, next_x: Numbers, next_y: Numbers) -> Numbers:
        """Returns the bound of steps between fractional places, `(n,)` nats."""
        token, latent = self.losses_at(x, y)
        of_tokens = (self.token_axis.progress_at(next_x) - self.token_axis.progress_at(x)) * token
        return of_tokens + (self.latent_axis.progress_at(next_y) - self.latent_axis.progress_at(y)) * latent

    def bound(self, run: Sequence[Point]) -> RunBound:
        """Returns the bound of a run through points (t_x, t_y), from the table's first to (0, 0).

        Between grid points losses are interpolated, linear in the shares of clean tokens and latents.
        """
        points = np.asarray(run, dtype=np.float64)
        x, y = self.token_axis.places_of(points[:, 0]), self.latent_axis.places_of(points[:, 1])
        rises = np.diff(self.token_axis.progress_at(x)), np.diff(self.latent_axis.progress_at(y))
        of_tokens, of_latents, *errors = (
            float(rise @ self._interpolated(losses, x[:-1], y[:-1]))
            for rise, losses in zip(rises * 2, (getattr(self, name) for name in _LOSSES), strict=True)
        )
        return RunBound(of_tokens, of_latents, sum(errors), self.num_tokens)

    def _interpolated(self, losses: Numbers, x: Numbers, y: Numbers) -> Numbers:
        rows, columns = self.token_axis.weights(x), self.latent_axis.weights(y)
        values: Numbers = np.einsum("ng,gh,nh->n", rows, losses, columns)
        return values
