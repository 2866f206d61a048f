"""Adaptive times of training: more draws where the loss is large, each weighted so that the expectation is as before.

A draw at position u of the path has weight 1 / p(u). The variance of weight times loss is least if p is proportional to
the root of the mean squared loss at u, which a running histogram estimates. Ours, not the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NUM_BINS = 32
_EVEN = 0.1  # share of the draws that are spread evenly: no weight is more than 10
_DECAY = 0.99  # of the histogram, per optimiser step


@dataclass(frozen=True)
class TimeDensity:
    """A density of positions in [0, 1), constant in bins of equal width.

    Attributes:
        shares: `(K,)` float64, the bins' probabilities, all above 0.
    """

    shares: Tensor

    @classmethod
    def even(cls, device: torch.device | str = "cpu") -> TimeDensity:
        """Returns the density whose draws all have weight 1."""
        return cls(torch.full((NUM_BINS,), 1 / NUM_BINS, dtype=torch.float64, device=device))

    def warped(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Maps uniform numbers in [0, 1) to positions of this density, in their order, and their weights, `(B,)`
        each."""
        ends = self.shares.cumsum(0)
        number = torch.searchsorted(ends, uniform.contiguous(), right=True).clamp(max=len(ends) - 1)
        share = self.shares[number]
        inside = ((uniform - (ends[number] - share)) / share).clamp(0, 1 - 2.0**-40)
        return (number + inside) / len(ends), 1 / (len(ends) * share)

    def moments(self, positions: Tensor, losses: Tensor) -> Tensor:
        """Sums the squared losses in each bin, and their number: `(B,)` each to `(2, K)` float64."""
        number = (positions * len(self.shares)).long().clamp(max=len(self.shares) - 1)
        member = (number[:, None] == torch.arange(len(self.shares), device=number.device)).double()  # (B, K)
        return torch.stack([losses.double().square(), torch.ones_like(losses, dtype=torch.float64)]) @ member


class TimeHistogram:
    """Running sums of the squared loss by position, of which the density of the next step is made.

    Attributes:
        moments: `(2, K)` float64: sums of squares, and counts; earlier steps count less.
    """

    def __init__(self, moments: Tensor | None = None) -> None:
        self.moments = torch.zeros(2, NUM_BINS, dtype=torch.float64) if moments is None else moments

    def update(self, moments: Tensor) -> None:
        """Adds the sums of an optimiser step, of all its batches and processes."""
        self.moments = _DECAY * self.moments.to(moments) + moments

    def density(self, device: torch.device | str) -> TimeDensity:
        """Returns the density of the least variance; bins without draws count as one of the mean. Without any draws it
        is even."""
        squares, counts = self.moments.to(device)
        mean = squares.sum() / counts.sum().clamp(min=1)
        root = ((squares + mean) / (counts + 1)).sqrt()
        even = torch.full_like(root, 1 / len(root))
        best = torch.where(root.sum() > 0, root / root.sum().clamp(min=torch.finfo(root.dtype).tiny), even)
        return TimeDensity((1 - _EVEN) * best + _EVEN * even)
