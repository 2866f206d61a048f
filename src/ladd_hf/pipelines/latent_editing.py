"""Latents between those of two texts."""

from __future__ import annotations

import torch
from torch import Tensor

from ..randomness import RowGenerator


def interpolate_latents(first: Tensor, second: Tensor, weights: Tensor, random: RowGenerator) -> Tensor:
    """Latents on the way from one text's to another's, a row for each weight.

    Vectors turn from the first to the second at an even pace (spherical interpolation), latent by latent, while their
    length changes linearly: an average would be shorter than either. Codes have nothing in between: at weight w a
    random share w of the places has the second text's code, and the share only grows along increasing weights.

    Args:
        first, second: `(1, M, D)` vectors or `(1, M)` codes.
        weights: `(B,)` from 0, the first, to 1, the second.
        random: one row; says which codes change first.
    """
    if first.ndim == 2:
        order = random.uniform(first.shape[1])  # (1, M)
        return torch.where(order < weights.to(order)[:, None], second, first)
    weights = weights.to(first)[:, None, None]
    lengths = [x.norm(dim=-1, keepdim=True) for x in (first, second)]
    directions = [x / length.clamp(min=1e-12) for x, length in zip((first, second), lengths, strict=True)]
    angle = (directions[0] * directions[1]).sum(-1, keepdim=True).clamp(-1, 1).acos()  # (1, M, 1)
    turned = torch.sin((1 - weights) * angle) * directions[0] + torch.sin(weights * angle) * directions[1]
    even = (1 - weights) * directions[0] + weights * directions[1]
    # Between equal directions there is nothing to turn, and between opposite ones no one way to.
    direction = torch.where(angle.sin() > 1e-6, turned / angle.sin().clamp(min=1e-6), even)
    return ((1 - weights) * lengths[0] + weights * lengths[1]) * direction
