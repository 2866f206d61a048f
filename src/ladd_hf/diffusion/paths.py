"""Paths in the square of the two times, the idea shared by sampling, the bound and training.

A point (t_x, t_y) gives the noise levels of the tokens and the latents. Generation walks a path from pure noise to
clean data: `joint` along the diagonal, `sequential` along the latents' side first and the tokens' side second. Along
any path on which neither time rises, the forward process is Markov, so the path has its own reverse process and its own
bound. Paper, sections 7, 8.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..utils.registry import Registry
from ..utils.rounding import round_half_up

Point = tuple[float, float]
PathSpec: TypeAlias = "str | TimePath | Sequence[Sequence[float]]"


class TimePoints(NamedTuple):
    """Points of the time square, and the rates of the two times per unit of the path position, `(B,)` each.

    The rates weight the bound's integrand; a rate is 0 where its time does not change.
    """

    token_times: Tensor
    latent_times: Tensor
    token_rates: Tensor
    latent_rates: Tensor


def _are_corners(given: Any) -> bool:
    """True if it is a sequence of pairs of numbers."""
    pairs = isinstance(given, Sequence) and not isinstance(given, str)
    pairs = pairs and all(isinstance(one, Sequence) and len(one) == 2 for one in given)
    return pairs and all(isinstance(time, Real) and not isinstance(time, bool) for one in given for time in one)


@dataclass(frozen=True)
class TimePath:
    """A polyline of points (t_x, t_y) in generative direction that ends at (0, 0); neither time ever rises.

    Args:
        vertices: the corners, at least two. `t_x` starts at 1. `t_y` starts at 1, at 0 if the latents are given (or do
            not exist), or in between if they are given with some noise.
    """

    vertices: tuple[Point, ...]

    def __post_init__(self) -> None:
        if not _are_corners(self.vertices):
            raise ValueError(f"`vertices` is {self.vertices!r}; give corners (t_x, t_y), such as ((1, 1), (0, 0)).")
        object.__setattr__(self, "vertices", tuple((t_x, t_y) for t_x, t_y in self.vertices))
        steps = list(zip(self.vertices, self.vertices[1:], strict=False))
        falls = all(a[0] >= b[0] and a[1] >= b[1] and a != b for a, b in steps)
        if not steps or not falls or self.vertices[-1] != (0, 0) or not self._starts_with_masks():
            raise ValueError(
                f"The path {self.vertices} is not accepted: give corners (t_x, t_y) from (1, 1), or from (1, t_y) "
                "where latents are given, to (0, 0), along which no time rises."
            )

    def _starts_with_masks(self) -> bool:
        t_x, t_y = self.vertices[0]
        return t_x == 1 and 0 <= t_y <= 1

    def starting_at(self, latent_time: float, steps_per_leg: Sequence[int]) -> tuple[TimePath, list[int]]:
        """Returns the path for latents that start at `latent_time`, and its steps: t_y is capped there, t_x is not.

        A leg on which only t_y changes, all of it above that time, is dropped; its steps go to the next leg.
        """
        corners, steps, waiting = [(self.vertices[0][0], min(self.vertices[0][1], latent_time))], [], 0
        for (t_x, t_y), count in zip(self.vertices[1:], steps_per_leg, strict=True):
            corner = (t_x, min(t_y, latent_time))
            waiting += count
            if corner != corners[-1]:
                corners.append(corner)
                steps.append(waiting)
                waiting = 0
        return TimePath(tuple(corners)), steps

    @property
    def legs(self) -> list[tuple[Point, Point]]:
        """Straight pieces of the path, in generative direction."""
        return list(zip(self.vertices, self.vertices[1:], strict=False))

    @property
    def latents_first(self) -> bool:
        """True if the latents are clean (t_y = 0) before any token is revealed."""
        return all(start[1] == 0 for start, end in self.legs if start[0] > end[0])

    def at(self, position: Tensor) -> TimePoints:
        """Returns points of the path and the rates of the two times there.

        Args:
            position: `(n,)` in [0, 1], 0 at the clean end; every leg takes an equal share.

        Returns:
            t_x, t_y, |dt_x / dposition|, |dt_y / dposition|, each `(n,)`.
        """
        corners = torch.tensor(self.vertices[::-1], dtype=position.dtype)  # clean end first
        corners = corners.to(position.device, non_blocking=True)  # does not synchronise with the GPU
        scaled = position * len(self.legs)
        leg = scaled.long().clamp(max=len(self.legs) - 1)
        start, rate = corners[leg], corners[leg + 1] - corners[leg]  # (n, 2)
        times = start + (scaled - leg)[:, None] * rate
        rate = rate * len(self.legs)
        return TimePoints(times[:, 0], times[:, 1], rate[:, 0], rate[:, 1])

    def grid(self, steps_per_leg: Sequence[int], timestep_spacing: str = "uniform") -> list[Point]:
        """Returns the points of a run with `steps_per_leg` steps, first to last: one more than the number of steps."""
        remaining = TIMESTEP_SPACINGS[timestep_spacing]
        points = [self.vertices[0]]
        for ((x0, y0), (x1, y1)), steps in zip(self.legs, steps_per_leg, strict=True):
            for step in range(1, steps):
                left = remaining(step / steps)
                points.append((x1 + (x0 - x1) * left, y1 + (y0 - y1) * left))
            points.append((x1, y1))
        return points


def shared_steps(num_steps: int, weights: Sequence[float]) -> list[int]:
    """Divides steps among legs in proportion to their weights, at least one each; halves round up.

    Raises `ValueError` for fewer steps than legs.
    """
    legs, total = len(weights), sum(weights)
    if num_steps < legs:
        raise ValueError(
            f"`num_steps` is {num_steps}, but the path has {legs} legs, each of which needs an evaluation: give "
            f"at least {legs}, or use the joint schedule, which has one leg."
        )
    ends = [0]
    for leg, weight in enumerate(itertools.accumulate(weights), 1):
        ends.append(min(max(round_half_up(weight / total * num_steps), ends[-1] + 1), num_steps - legs + leg))
    return [end - start for start, end in itertools.pairwise(ends)]


def uniform_spacing(done: float) -> float:
    """Returns the share of a leg's noise left after a share `done` of its steps; falls linearly."""
    return 1 - done


def cosine_spacing(done: float) -> float:
    """Returns the share of a leg's noise left; falls slowly at first, to write few tokens while little is known."""
    return math.cos(math.pi / 2 * done)


TIMESTEP_SPACINGS: Registry[Callable[[float], float]] = Registry(
    "`timestep_spacing`", {"uniform": uniform_spacing, "cosine": cosine_spacing}
)
register_timestep_spacing = TIMESTEP_SPACINGS.register

JOINT = TimePath(((1, 1), (0, 0)))
SEQUENTIAL = TimePath(((1, 1), (1, 0), (0, 0)))
TOKENS_ONLY = TimePath(((1, 0), (0, 0)))
TIME_PATHS: Registry[TimePath] = Registry("path", {"joint": JOINT, "sequential": SEQUENTIAL, "tokens": TOKENS_ONLY})
INDEPENDENT = "independent"  # the whole square, in training; not the name of a path
_BUILT_IN = tuple(TIME_PATHS)


def register_path(name: str, path: PathSpec) -> TimePath:
    """Registers a path under a name, for use in settings and metrics.

    Raises `ValueError` for a name that is taken or ambiguous, and for corners that are not a valid path.
    """
    if isinstance(name, str) and ("+" in name or name.lstrip().startswith("[") or name == INDEPENDENT):
        raise ValueError(
            f"The name of a path is {name!r}; give one without '+', not beginning with '[', and not {INDEPENDENT!r}."
        )
    return TIME_PATHS.register(name, time_path(path))


def time_path(spec: PathSpec) -> TimePath:
    """Returns a path by name (`joint`, `sequential`, or `tokens` with clean latents) or by corners, or `spec` itself.

    Corners may also be a JSON string, as on a command line: `"[[1, 1], [1, 0.3], [0, 0]]"`.

    Raises `ValueError` for anything else, and for corners that are not a valid path.
    """
    if isinstance(spec, TimePath):
        return spec
    if isinstance(spec, str) and spec in TIME_PATHS:
        return TIME_PATHS[spec]
    if isinstance(spec, str) and spec.lstrip().startswith("["):
        try:
            return time_path(json.loads(spec))
        except json.JSONDecodeError as error:
            raise ValueError(
                f"The path {spec!r} is no JSON; give corners (t_x, t_y), such as [[1, 1], [1, 0.3], [0, 0]]."
            ) from error
    if isinstance(spec, Sequence) and not isinstance(spec, str):
        if not _are_corners(spec):
            raise ValueError(f"The path is {spec!r}; give corners (t_x, t_y), such as [[1, 1], [1, 0.3], [0, 0]].")
        return TimePath(spec)  # type: ignore[arg-type]
    raise ValueError(
        f"Path {spec!r} is unknown; give one of {list(TIME_PATHS)}, corners such as [[1, 1], [1, 0.3], [0, 0]], or "
        "a `TimePath`."
    )


def path_data(spec: PathSpec) -> str | list[list[float]]:
    """Returns a path as JSON data: the name of a built-in path, or the corners of any other, which can thus be loaded
    without registration."""
    path = time_path(spec)
    named = next((name for name in _BUILT_IN if TIME_PATHS[name] == path), None)
    return named or [[float(time) for time in corner] for corner in path.vertices]


def path_name(spec: PathSpec) -> str:
    """Returns a unique short name of a path, for metrics: its own, or its corners, such as `1-1_1-0.3_0-0`."""
    path = time_path(spec)
    names = (*_BUILT_IN, *TIME_PATHS)  # an alias does not rename metrics
    if named := next((name for name in names if TIME_PATHS[name] == path), None):
        return named
    return "_".join("-".join(str(float(time)).removesuffix(".0") for time in corner) for corner in path.vertices)
