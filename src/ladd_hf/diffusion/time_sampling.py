"""Random numbers of training, and the points of the time square drawn with them. Paper, section 6."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch
from torch import Tensor

from .paths import INDEPENDENT, TIME_PATHS, PathSpec, TimePath, TimePoints, path_data, time_path
from .rng import RowGenerator, bits_to_uniform
from .time_density import TimeDensity

# Inverse powers of the plastic number, for the R2 low-discrepancy sequence (Roberts 2018), in units of 2^-64: int64
# products with an example's number wrap around at 1 and stay exact for any number.
_PLASTIC = 1.32471795724474602596
_R2_STEPS = [int(2**64 / _PLASTIC**power) - 2**64 for power in (1, 2)]  # both above 2^63, so negative as int64


@dataclass(frozen=True)
class TrainingNoise:
    """Identifies an example's noise by the run's seed and the example's number in the whole run.

    The noise of an example then depends neither on its batch nor on the number of processes or accumulated batches.

    Attributes:
        seed: seed of the run.
        examples: `(B,)` int64, distinct numbers. Consecutive ones get low-discrepancy times.
        density: of the times, for an objective with `adaptive_times`; even by default.
    """

    seed: int
    examples: Tensor
    density: TimeDensity | None = None

    @classmethod
    def draw(cls, batch_size: int, device: torch.device) -> TrainingNoise:
        """Draws noise from torch's global generator, for a loss computed without a trainer."""
        seed, start = torch.randint(2**40, (2,)).tolist()
        return cls(seed, torch.arange(start, start + batch_size, device=device))

    def generator(self) -> RowGenerator:
        """Returns the examples' streams of random numbers, from their beginning."""
        return RowGenerator.from_seed(self.seed, self.examples)

    def drops_latents(self, probability: float) -> Tensor:
        """Draws the examples whose latents are dropped, each with this probability: `(B,)` bool.

        Uses a separate stream, so that a whole optimiser step can be counted before its first batch is run.
        """
        return RowGenerator.from_seed(~self.seed, self.examples).uniform() < probability

    def positions(self) -> Tensor:
        """Draws two numbers in [0, 1) per example, `(B, 2)` float64, with low discrepancy in the square.

        Each is a random start plus the example's number times an irrational step, modulo 1: consecutive examples
        cover both times evenly, however the run is split into batches.
        """
        start = RowGenerator.from_seed(self.seed, torch.full_like(self.examples[:1], -1)).bits(2)
        moved = torch.stack([self.examples * step for step in _R2_STEPS], dim=1)
        return bits_to_uniform(start + moved)


def draw_times(distribution: PathSpec, positions: Tensor, min_time: float = 0.0, shift: float = 1.0) -> TimePoints:
    """Draws points of the time square.

    Args:
        distribution: a path by name or by corners, see `time_path` (both times from one number), `independent` (the
            whole square), or several names joined by `+`, which share the examples evenly.
        positions: `(B, 2)` numbers in [0, 1).
        min_time: lower limit of the times that change along the path.
        shift: a in t <- a t / (1 + (a - 1) t), applied to the latents' times, and to the tokens' if shared; 1 does not
            change the times, larger values shift them towards noise.

    Raises `ValueError` for an invalid distribution.
    """
    parts = check_distribution(distribution)
    first, second = positions.unbind(1)
    scaled = first * len(parts)
    part = scaled.long().clamp(max=len(parts) - 1)  # index of each example's distribution
    drawn = torch.stack([torch.stack(_points(one, scaled - part, second)) for one in parts])  # (parts, 4, B)
    t_x, t_y, token_rate, latent_rate = drawn[part, :, torch.arange(len(first), device=first.device)].unbind(1)

    def shifted(t: Tensor, rate: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
        scale = 1 + (by - 1) * t
        return torch.where(rate > 0, (by * t / scale).clamp(min=min_time), t), rate * by / scale**2

    apart = torch.tensor([one is None for one in parts]).to(first.device, non_blocking=True)[part]
    of_latents = torch.full_like(first, shift)
    token_times, token_rates = shifted(t_x, token_rate, torch.where(apart | (latent_rate == 0), 1.0, of_latents))
    latent_times, latent_rates = shifted(t_y, latent_rate, of_latents)
    return TimePoints(token_times, latent_times, token_rates, latent_rates)


def check_distribution(distribution: PathSpec) -> list[TimePath | None]:
    """Returns the paths of a time distribution, `None` for the whole square.

    Several are joined by `+`, such as `sequential+joint`; each is a name or corners as JSON. Raises `ValueError` for
    what is neither.
    """
    parts = distribution.split("+") if isinstance(distribution, str) else [distribution]
    try:
        return [None if part == INDEPENDENT else time_path(part) for part in parts]
    except ValueError as error:
        raise ValueError(
            f"`time_distribution` {distribution!r} is unknown; give one of {[*TIME_PATHS, INDEPENDENT]}, several "
            "joined by '+', such as 'sequential+joint', or corners such as [[1, 1], [1, 0.3], [0, 0]]."
        ) from error


def distribution_data(distribution: PathSpec) -> str | list[list[float]]:
    """Returns a time distribution as JSON holds it: names and corners, several joined by `+`, or the corners of one.

    Raises `ValueError` for what is neither.
    """
    paths = check_distribution(distribution)
    data = [INDEPENDENT if path is None else path_data(path) for path in paths]
    if len(data) == 1:
        return data[0]
    return "+".join(one if isinstance(one, str) else json.dumps(one) for one in data)


def _points(path: TimePath | None, first: Tensor, second: Tensor) -> TimePoints:
    """Returns times and rates on one path, or in the whole square, `(B,)` each."""
    if path is None:
        return TimePoints(first, second, torch.ones_like(first), torch.ones_like(first))
    return path.at(first)
