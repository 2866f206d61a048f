"""Where the randomness of training comes from, and the points of the time square it draws. Paper, section 6."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .randomness import RowGenerator
from .time_paths import time_path

# Inverse powers of the plastic number, for the R2 low-discrepancy sequence (Roberts 2018).
_PLASTIC = 1.32471795724474602596
_R2_STEPS = (1 / _PLASTIC, 1 / _PLASTIC**2)


@dataclass(frozen=True)
class TrainingNoise:
    """Names an example's noise: the run's seed and the example's number in the whole run.

    So the noise of an example depends neither on its batch nor on the number of processes or of accumulated batches.

    Attributes:
        seed: of the run.
        examples: `(B,)` int64, distinct numbers. Consecutive ones get low-discrepancy times.
    """

    seed: int
    examples: Tensor

    @classmethod
    def draw(cls, batch_size: int, device: torch.device) -> TrainingNoise:
        """Noise out of torch's global generator, for a loss that is asked for outside of a trainer."""
        seed, start = torch.randint(2**40, (2,)).tolist()
        return cls(seed, torch.arange(start, start + batch_size, device=device))

    def generator(self) -> RowGenerator:
        """The examples' streams of random numbers, from their beginning."""
        return RowGenerator.from_seed(self.seed, self.examples)

    def positions(self) -> Tensor:
        """Two numbers in [0, 1) per example, `(B, 2)` float64, low-discrepancy in the square.

        Each is a random start plus the example's number times an irrational step, modulo 1: consecutive examples
        cover both times evenly, however the run is cut into batches.
        """
        steps = torch.tensor(_R2_STEPS, dtype=torch.float64, device=self.examples.device)
        start = RowGenerator.from_seed(self.seed, torch.full_like(self.examples[:1], -1)).uniform(2)
        return (start + self.examples[:, None] * steps) % 1


@dataclass
class TimePoints:
    """Times `(B,)` and how fast each passes per unit of the draw, `(B,)`: the bound's integrand is weighed by it."""

    token_times: Tensor
    latent_times: Tensor
    token_rates: Tensor
    latent_rates: Tensor


def draw_times(distribution: str, positions: Tensor, min_time: float = 0.0, shift: float = 1.0) -> TimePoints:
    """Points of the time square.

    Args:
        distribution: a path's name (both times from one number), or `independent` (the whole square).
        positions: `(B, 2)` numbers in [0, 1).
        min_time: moving times are at least this.
        shift: a in t <- a t / (1 + (a - 1) t); 1 leaves times alone, more shifts them towards noise.
    """
    first, second = positions.unbind(1)
    one = torch.ones_like(first)
    drawn = (first, second, one, one) if distribution == "independent" else time_path(distribution).at(first)

    def shifted(t: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        scale = 1 + (shift - 1) * t
        return torch.where(rate > 0, (shift * t / scale).clamp(min=min_time), t), rate * shift / scale**2

    token_times, token_rates = shifted(drawn[0], drawn[2])
    latent_times, latent_rates = shifted(drawn[1], drawn[3])
    return TimePoints(token_times, latent_times, token_rates, latent_rates)
