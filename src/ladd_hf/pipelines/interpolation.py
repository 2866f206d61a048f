"""Interpolation between the latents of two texts."""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion.rng import RowGenerator

_TINY = 1e-300  # lower limit of lengths in denominators
_PARALLEL = 1e-12  # closer to parallel than this, the direction between two vectors is only rounding noise


def interpolate_latents(first: Tensor, second: Tensor, weights: Tensor, random: RowGenerator) -> Tensor:
    """Interpolates between the latents of two texts, one row per weight.

    Each vector rotates from the first to the second at a constant rate (spherical interpolation), while its length
    changes linearly; an average would be shorter than both. Opposite vectors rotate through a fixed third direction, or
    through zero if they have a single dimension. Codes cannot be interpolated: at weight w a random share w of the
    positions has the second text's code, and these positions are kept as the weight increases.

    Args:
        first, second: `(1, M, D)` vectors or `(1, M)` codes.
        weights: `(B,)` from 0, the first, to 1, the second.
        random: one row; determines which codes change first.
    """
    if first.ndim == 2:
        order = random.uniform(first.shape[1])  # (1, M)
        return torch.where(order < weights.to(order)[:, None], second, first)
    ends = first.double(), second.double()
    weights = weights.to(ends[0])[:, None, None]
    lengths = [x.norm(dim=-1, keepdim=True) for x in ends]
    here, there = _directions(*ends, *lengths)
    angle = 2 * torch.atan2((here - there).norm(dim=-1, keepdim=True), (here + there).norm(dim=-1, keepdim=True))
    turned = torch.cos(weights * angle) * here + torch.sin(weights * angle) * _towards(here, there)
    if first.shape[-1] == 1:  # in one dimension there is no rotation
        turned = (1 - weights) * here + weights * there
    between = ((1 - weights) * lengths[0] + weights * lengths[1]) * turned
    between = torch.where(weights == 0, ends[0], torch.where(weights == 1, ends[1], between))
    return between.to(first.dtype)


def _directions(first: Tensor, second: Tensor, length: Tensor, other_length: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both vectors at length 1; a vector of length 0 gets the direction of the other."""
    here, there = first / length.clamp(min=_TINY), second / other_length.clamp(min=_TINY)
    return torch.where(length > 0, here, there), torch.where(other_length > 0, there, here)


def _towards(here: Tensor, there: Tensor) -> Tensor:
    """Returns the unit vector orthogonal to `here` in the direction of `there`.

    If the two are parallel, the coordinate axis in which `here` is smallest, the first of several, replaces `there`.
    """
    axis = torch.nn.functional.one_hot(here.abs().argmin(-1), here.shape[-1]).to(here)
    across = _across(there, here)
    across = torch.where(across.norm(dim=-1, keepdim=True) > _PARALLEL, across, _across(axis, here))
    across = across / across.norm(dim=-1, keepdim=True).clamp(min=_TINY)
    return _across(across, here)  # again, to remove rounding errors along `here`


def _across(vectors: Tensor, here: Tensor) -> Tensor:
    """Returns the components of the vectors orthogonal to `here`."""
    return vectors - (vectors * here).sum(-1, keepdim=True) * here
