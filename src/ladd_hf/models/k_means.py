"""Centres of vectors by k-means++ (Arthur and Vassilvitskii 2007) and Lloyd's iterations."""

from __future__ import annotations

import torch
from torch import Tensor

# Distances of at most so many numbers are in memory at once (64 MiB in float32).
_AT_ONCE = 1 << 24


def k_means(vectors: Tensor, count: int, iterations: int = 10, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Finds centres of vectors, the same for the same vectors and seed.

    Centres start at vectors that are chosen one after the other, with probability proportional to the squared distance
    to the nearest one before; so does, in each iteration, a centre that is nearest to none.

    Args:
        vectors: `(N, D)`.
        count: number K of centres, at most that of different vectors.
        iterations: of Lloyd.
        seed: of the choices.

    Returns:
        Centres `(K, D)`, the number of the nearest one for each vector `(N,)`, and its squared distance `(N,)`.

    Raises `ValueError` for fewer different vectors than centres.
    """
    if (different := len(vectors.unique(dim=0))) < count:
        raise ValueError(
            f"There are {different} different latents for {count} anchors: give more texts, or fewer anchors "
            '(`latent_prediction_type` {"name": "anchors", "count": ...}).'
        )
    random = torch.Generator().manual_seed(seed)
    centres = _starts(vectors, count, random)
    for _ in range(iterations):
        number, distance = _nearest(vectors, centres)
        found = torch.bincount(number, minlength=count)
        sums = torch.zeros_like(centres).index_add_(0, number, vectors)
        centres = torch.where(found[:, None] > 0, sums / found.clamp(min=1)[:, None], centres)
        for one in (found == 0).nonzero().flatten().tolist():
            centres[one] = vectors[_far(distance, random)]
    return centres, *_nearest(vectors, centres)


def _starts(vectors: Tensor, count: int, random: torch.Generator) -> Tensor:
    """Returns vectors to start at, `(K, D)`."""
    chosen = [int(torch.randint(len(vectors), (), generator=random))]
    distance = torch.full((len(vectors),), torch.inf, device=vectors.device)
    while len(chosen) < count:
        distance = distance.minimum((vectors - vectors[chosen[-1]]).square().sum(-1))
        chosen.append(_far(distance, random))
    return vectors[chosen]


def _far(distance: Tensor, random: torch.Generator) -> int:
    """Draws a vector with probability proportional to its squared distance."""
    rising = distance.double().cumsum(0)
    place = torch.rand((), generator=random, dtype=torch.float64).to(rising) * rising[-1]
    return min(int(torch.searchsorted(rising, place, right=True)), len(rising) - 1)


def _nearest(vectors: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the number and the squared distance of each vector's nearest centre."""
    found = []
    for part in vectors.split(max(1, _AT_ONCE // len(centres))):
        distances = centres.square().sum(-1) - 2 * part @ centres.T
        least = distances.min(-1)
        found.append((least.indices, (least.values + part.square().sum(-1)).clamp(min=0)))
    numbers, distances = zip(*found, strict=True)
    return torch.cat(numbers), torch.cat(distances)
