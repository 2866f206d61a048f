"""Distillation of the latents' way by MeanFlow, in training: the jumps of a batch, and what they are to lead to.

Some of the examples are given a further time r that the network is to predict a jump to; see `average_velocity.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from .average_velocity import Jump, jump_target, motion, with_change
from .continuous_latents import ContinuousLatents
from .denoiser import Denoiser, Teacher, tangents_of
from .noising import NoisyLatents, NoisyTokens, latents_at
from .objective import TrainingObjective
from .precision import at_least_float32, uncached_autocast
from .rng import RowGenerator

_FIRST = 0.98  # above it, times are where runs begin


def check_jumps(denoiser: Any, objective: TrainingObjective) -> None:
    """Raises `ValueError` for an objective with jumps, if the time that a step leads to is no input of the denoiser."""
    if objective.has_jumps and not getattr(denoiser, "flow_map", False):
        raise ValueError(
            f"`meanflow_share` is {objective.meanflow_share:g}, but this model does not have the time that a step "
            "leads to as an input: load it with `latent_flow_map=True`, or leave the share at 0."
        )


def draw_jumps(
    batch: NoisyTokens, dropped: Tensor, objective: TrainingObjective, random: RowGenerator
) -> tuple[NoisyTokens, Tensor]:
    """Draws the times of jumps, t and r <= t, for a share of the examples that learn latents.

    Both are logit-normal, but for the jumps from where runs begin, of which such a law has next to none: these lead to
    any time, evenly. The tokens keep their times, and all other examples both of theirs.

    Returns the batch with t as the latents' times of these examples, and r, `(B,)`; for the others the latents' time,
    which is 1 if they are dropped.
    """
    times = batch.times
    jump = (random.uniform() < objective.meanflow_share) & (times.latent_rates > 0) & ~dropped
    drawn = torch.sigmoid(objective.meanflow_time_mean + objective.meanflow_time_std * random.normal(2))  # (B, 2)
    first = random.uniform() < objective.meanflow_start_share
    even = random.uniform(2)  # (B, 2)
    start = torch.where(first, 1 - (1 - _FIRST) * even[:, 0], drawn.amax(1)).clamp(min=objective.min_time)
    end = torch.where(first, even[:, 1] * start, drawn.amin(1))
    latent_times = torch.where(jump, start, times.latent_times)
    targets = torch.where(jump, torch.minimum(end, start), torch.where(dropped, 1.0, latent_times))
    return replace(batch, times=times._replace(latent_times=latent_times)), targets


def jump_rows(batch: NoisyTokens, latents: NoisyLatents) -> Tensor:
    """Returns the examples that jump, `(B,)` bool."""
    times = batch.times.latent_times
    return torch.zeros_like(times, dtype=torch.bool) if latents.targets is None else latents.targets < times


@torch.compiler.disable  # as the derivative is
def distilled(
    denoiser: Denoiser, teacher: Teacher, batch: NoisyTokens, latents: NoisyLatents, objective: TrainingObjective
) -> tuple[Tensor, Tensor, Jump]:
    """Computes the targets of the jumps, without gradient.

    The denoiser is evaluated once, with a derivative and in evaluation mode, and the teacher once, unless the data give
    the velocity. One row at least is evaluated, for sharded weights need an evaluation in every process; one that does
    not jump has its own y_0 as the target, since a schedule may have no derivative where it rests.

    Returns numbers of rows `(n,)`, the y_0 to predict `(n, M, D)`, and their jumps.
    """
    chosen = jump_rows(batch, latents)
    rows = torch.cat([chosen[:1] | ~chosen.any(), chosen[1:]]).nonzero().squeeze(1)
    channel = cast(ContinuousLatents, denoiser.latent_channel)
    noisy, clean = (at_least_float32(one.detach()[rows]) for one in (latents.noisy, latents.encoded.clean))
    assert latents.targets is not None
    targets = latents.targets[rows]
    jump = Jump.of(channel.schedule, batch.times.latent_times[rows], targets)

    def predict(noisy: Tensor, t: Tensor) -> Tensor:
        output = latents_at(denoiser, batch, rows, noisy, t, latent_target_timesteps=targets)
        return channel.estimate(output.latent_prediction, noisy, t)

    with torch.no_grad():
        if objective.meanflow_teacher != "data":
            clean = _taught(teacher, batch, rows, noisy, jump.start)
        with tangents_of(denoiser):
            prediction, change = with_change(predict, noisy, jump.start, motion(channel.schedule, noisy, clean, jump))
    target = jump_target(clean, prediction, change, jump, objective.meanflow_tangent)
    jumps = chosen[rows]
    jump = jump._replace(start_line=torch.where(jumps, jump.start_line, 1.0))  # errors are divided by it
    return rows, torch.where(jumps[:, None, None], target, clean), jump


def _taught(teacher: Any, batch: NoisyTokens, rows: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
    """Returns the mean of y_0 that the teacher predicts, `(n, M, D)`."""
    with uncached_autocast(noisy):
        output = latents_at(teacher, batch, rows, noisy, t)
    return cast(Tensor, teacher.latent_channel.estimate(output.latent_prediction, noisy, t))
