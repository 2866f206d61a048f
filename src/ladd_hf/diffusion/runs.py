"""Runs of N steps as points of the time square, for the bounds of what they write."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, TypeAlias

import torch

from .noise_schedules import GaussianSchedule
from .paths import JOINT, PathSpec, Point, TimePath, shared_steps, time_path

# Noise, as a share of their signal, with which continuous latents are known well enough, unless another is stated. On
# the sawtooth the marginalised bound is least at 0.3 to 0.5 from four evaluations on, and at 1 for two.
LATENT_WIDTH = 0.5

RunSpec: TypeAlias = "int | Sequence[Point]"


def run_path(run: RunSpec, path: PathSpec | None, with_latents: bool) -> TimePath:
    """Returns a run as the path whose legs are its steps.

    Args:
        run: points (t_x, t_y), as `TimePath.grid` lays them, or a number of evaluations, which are divided evenly among
            the legs of `path`.
        path: `joint` by default; only for a number of evaluations.
        with_latents: False for a model of tokens alone, of which only t_x counts.

    Raises `ValueError` for points that are not a run from (1, 1) or (1, 0) to (0, 0), and for `path` beside points.
    """
    if isinstance(run, Integral) and not isinstance(run, bool):
        legs = time_path(JOINT if path is None else path)
        legs = legs if with_latents else TimePath(((1, 0), (0, 0)))
        points = legs.grid(shared_steps(int(run), [1.0] * len(legs.legs)))
    else:
        if path is not None:
            raise ValueError(
                "`path` and `run` are both given: a bound is that of the path or of the run, unless `run` is a number "
                "of steps along the path."
            )
        points = _points(run)
    if not with_latents:
        points = [*dict.fromkeys((t_x, 0.0) for t_x, _ in points)]
    return from_noise(TimePath(tuple(points)))  # raises for points that are not a run


def from_noise(path: TimePath) -> TimePath:
    """Returns the path. Raises `ValueError` if it starts with latents that are neither pure noise nor clean."""
    if path.vertices[0] not in ((1, 1), (1, 0)):
        raise ValueError(
            f"The path starts at {path.vertices[0]}: what the latents cost down to that time would be missing; give a "
            "path from (1, 1), or from (1, 0) for the tokens alone."
        )
    return path


def marginal_run(run: TimePath, channel: Any, width: float) -> list[Point]:
    """Returns the points of a run whose latents are averaged out; those of continuous latents keep some noise.

    Args:
        run: from (1, 1), or from (1, 0) without latents.
        channel: the latents' channel, or `None`.
        width: noise that continuous latents keep, as a share of their signal: t_y ends where s(t_y) = width a(t_y).

    Raises `ValueError` for a run that starts with clean latents.
    """
    if channel is None:
        return list(run.vertices)
    check_latents_are_written(run)
    if not channel.ends_noisy:
        return list(run.vertices)
    end = time_of_width(channel.schedule, width)
    return [*dict.fromkeys((t_x, max(t_y, end)) for t_x, t_y in run.vertices)]


def marginal_points(run: RunSpec, path: PathSpec | None, channel: Any, width: float) -> list[Point]:
    """Returns the points of a run whose latents are averaged out, from its points or its number of evaluations.

    Points may end at (0, t_y) with t_y > 0, where all tokens are written and latents are not clean. Latents with
    probabilities are then made clean in one more evaluation: texts stay the same, and whole proposals can be weighed.
    Those of other continuous latents keep the noise of that time, whatever `width` is.
    For the arguments see [`run_path`] and [`marginal_run`], which raise the same errors.
    """
    end = 0.0
    if channel is not None and not isinstance(run, Integral) and (points := _points(run)):
        end = float(points[-1][1]) if points[-1][0] == 0 else 0.0
        run = [*points, (0.0, 0.0)] if end > 0 else run
    walked = run_path(run, path, channel is not None)
    if end and channel.ends_noisy:  # the run itself says how much noise its latents keep
        check_latents_are_written(walked)
        return [(t_x, t_y) for t_x, t_y in walked.vertices if (t_x, t_y) != (0, 0)]
    return marginal_run(walked, channel, width)


def check_latents_are_written(run: TimePath) -> None:
    """Raises `ValueError` for a run over whose latents nothing can be averaged, since they are given."""
    if run.vertices[0] != (1, 1):
        raise ValueError(
            f"The run starts at {run.vertices[0]}, with the latents given: to average over latents, give one from "
            "(1, 1), which writes them."
        )


def time_of_width(schedule: GaussianSchedule, width: float) -> float:
    """Returns the time at which the noise is `width` times the signal, by bisection.

    Raises `ValueError` for less noise than the schedule ever has, or more.
    """
    low, high, wanted = 0.0, 1.0, 1 / (1 + width**2)
    most, least = (float(schedule.signal_variance(torch.tensor(time, dtype=torch.float64))) for time in (low, high))
    if not least < wanted < most:
        ends = [math.sqrt(1 / share - 1) for share in (most, least)]
        raise ValueError(
            f"Latents cannot keep noise of {width:g} times their signal: their schedule goes from {ends[0]:.3g} to "
            f"{ends[1]:.3g} times."
        )
    for _ in range(50):
        middle = (low + high) / 2
        above = float(schedule.signal_variance(torch.tensor(middle, dtype=torch.float64))) > wanted
        low, high = (middle, high) if above else (low, middle)
    return high


def _points(run: Any) -> list[Point]:
    pairs = isinstance(run, Sequence) and all(isinstance(point, Sequence) and len(point) == 2 for point in run)
    if not pairs or not all(isinstance(time, Real) for point in run for time in point):
        raise ValueError(
            f"`run` is {run!r}; give the points (t_x, t_y) of a run, as `TimePath.grid` lays them, or a number of "
            "evaluations."
        )
    return [(t_x, t_y) for t_x, t_y in run]
