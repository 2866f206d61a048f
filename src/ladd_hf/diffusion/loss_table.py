"""The losses of a denoiser over the time square, from which the bound of every run follows.

The bound of an N-step run is a sum over its steps from (t_x, t_y) to (s_x, s_y),

    sum of (alpha(s_x) - alpha(t_x)) L_x(t_x, t_y) + (progress(s_y) - progress(t_y)) L_y(t_x, t_y),

where L_x is the expected cross-entropy of the masked tokens over the probability 1 - alpha of being masked, and L_y the
same of codes, or the squared error of continuous latents. Latents that are drawn from anchors have no such L_y: their
steps' costs are known for both times, L_y(t_x, t_y, s_y). The losses do not depend on the run. Paper, sections 7, 8.
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
        latent_losses: `(g_x, g_y)`, the same of its latents, per unit of their progress; or `(g_x, g_y, g_y)` nats of
            the step of latents from one time to another, with the opposite sign for the step back.
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
            shapes = [shape, (*shape, shape[1])] if name in ("latent_losses", "latent_errors") else [shape]
            if losses.shape not in shapes:
                raise ValueError(
                    f"`{name}` of a table has shape {losses.shape}; its times ask for {' or '.join(map(str, shapes))}."
                )
            if not np.isfinite(losses).all():
                raise ValueError(
                    f"`{name}` of a table holds numbers that are not finite: look for the first non-finite weight or "
                    "activation of the model."
                )
            object.__setattr__(self, name, losses)
        if self.latent_losses.shape != self.latent_errors.shape:
            raise ValueError(
                f"`latent_losses` of a table have shape {self.latent_losses.shape} and `latent_errors` "
                f"{self.latent_errors.shape}: give an error for each loss."
            )

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
        moved: dict[str, Any] = {name: _moved(getattr(self, name), weights) for name in _LOSSES}
        return replace(self, latent_axis=axis, **moved)

    @property
    def latent_surface(self) -> Numbers:
        """The latents' losses over the time square, `(g_x, g_y)`; nats of the step to clean ones, of those known for
        both times of a step."""
        return self.latent_losses if self.latent_losses.ndim == 2 else self.latent_losses[..., -1]

    def losses_between(self, x: Numbers, y: Numbers) -> tuple[Numbers, Numbers]:
        """Returns the losses between fractional places `(n,)` of the rows and `(m,)` of the columns.

        Those of the tokens are `(n, m)`, and the nats of the latents' steps from one column to another `(n, m, m)`.
        """
        rows, columns = self.token_axis.weights(x), self.latent_axis.weights(y)
        tokens: Numbers = _moved(rows @ self.token_losses, columns)
        latents: Numbers = _moved(np.tensordot(rows, self.latent_losses, 1), columns)
        if latents.ndim == 3:
            return tokens, latents
        progress = self.latent_axis.progress_at(y)
        return tokens, (progress - progress[:, None]) * latents[:, :, None]

    def step_nats(self, x: Numbers, y: Numbers, next_x: Numbers, next_y: Numbers) -> Numbers:
        """Returns the bound of steps between fractional places, `(n,)` nats."""
        of_tokens, of_latents = self._parts(x, y, next_x, next_y, "losses")
        return of_tokens + of_latents

    def bound(self, run: Sequence[Point]) -> RunBound:
        """Returns the bound of a run through points (t_x, t_y), from the table's first to (0, 0).

        Between grid points losses are interpolated, linear in the shares of clean tokens and latents.
        """
        points = np.asarray(run, dtype=np.float64)
        x, y = self.token_axis.places_of(points[:, 0]), self.latent_axis.places_of(points[:, 1])
        steps = x[:-1], y[:-1], x[1:], y[1:]
        of_tokens, of_latents = (float(nats.sum()) for nats in self._parts(*steps, "losses"))
        error = sum(float(np.abs(nats).sum()) for nats in self._parts(*steps, "errors"))
        return RunBound(of_tokens, of_latents, error, self.num_tokens)

    def _parts(self, x: Numbers, y: Numbers, next_x: Numbers, next_y: Numbers, kind: str) -> tuple[Numbers, Numbers]:
        """Returns both channels' nats of steps, or their `errors`, `(n,)` each."""
        rows, columns = self.token_axis.weights(x), self.latent_axis.weights(y)
        of_tokens, of_latents = (getattr(self, f"{channel}_{kind}") for channel in ("token", "latent"))
        rise = self.token_axis.progress_at(next_x) - self.token_axis.progress_at(x)
        tokens: Numbers = rise * np.einsum("ng,gh,nh->n", rows, of_tokens, columns)
        if of_latents.ndim == 3:
            if kind == "errors":  # with the sign of the step, so that one that goes nowhere has none
                columns_of = np.arange(of_latents.shape[-1])
                of_latents = of_latents * np.sign(columns_of - columns_of[:, None])
            ends = self.latent_axis.weights(next_y)
            latents: Numbers = np.einsum("ng,nj,nk,gjk->n", rows, columns, ends, of_latents)
        else:
            rise = self.latent_axis.progress_at(next_y) - self.latent_axis.progress_at(y)
            latents = rise * np.einsum("ng,gh,nh->n", rows, of_latents, columns)
        return tokens, latents


def _moved(losses: Numbers, weights: Numbers) -> Numbers:
    """Returns losses `(n, g)` or `(n, g, g)` at other columns, of weights `(m, g)`: `(n, m)` or `(n, m, m)`."""
    moved: Numbers = losses @ weights.T
    return moved if losses.ndim == 2 else weights @ moved
