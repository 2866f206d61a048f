"""Latents between those of two texts."""

from __future__ import annotations

import torch
from torch import Tensor

from ..diffusion.rng import RowGenerator

_TINY = 1e-300  # for lengths that are divided by
_PARALLEL = 1e-12  # closer to a line than this, rounding says where one direction lies from the other


def interpolate_latents(first: Tensor, second: Tensor, weights: Tensor, random: RowGenerator) -> Tensor:
    """Latents on the way from one text's to another's, a row for each weight.

    Vectors turn from the first to the second at an even pace (spherical interpolation), latent by latent, while their
    length changes linearly: an average would be shorter than either. Opposite ones turn by way of a fixed third, where
    there is one: with a single dimension they cross zero. Codes have nothing in between: at weight w a
    random share w of the places has the second text's code, and the share only grows along increasing weights.

    Args:
        first, second: `(1, M, D)` vectors or `(1, M)` codes.
        weights: `(B,)` from 0, the first, to 1, the second.
        random: one row; says which codes change first.
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
    if first.shape[-1] == 1:  # a line has no way around zero
        turned = (1 - weights) * here + weights * there
    between = ((1 - weights) * lengths[0] + weights * lengths[1]) * turned
    between = torch.where(weights == 0, ends[0], torch.where(weights == 1, ends[1], between))
    return between.to(first.dtype)


def _directions(first: Tensor, second: Tensor, length: Tensor, other_length: Tensor) -> tuple[Tensor, Tensor]:
    """Both at length 1; a vector of length 0 has the other's direction."""
    here, there = first / length.clamp(min=_TINY), second / other_length.clamp(min=_TINY)
    return torch.where(length > 0, here, there), torch.where(other_length > 0, there, here)


def _towards(here: Tensor, there: Tensor) -> Tensor:
    """The unit vector at right angles to `here` in which `there` lies.

    Where they are the same, or opposite, that is no one vector, and it is the one in which the axis lies that `here` is
    furthest from, the first of several.
    """
    axis = torch.nn.functional.one_hot(here.abs().argmin(-1), here.shape[-1]).to(here)
    across = _across(there, here)
    across = torch.where(across.norm(dim=-1, keepdim=True) > _PARALLEL, across, _across(axis, here))
    across = across / across.norm(dim=-1, keepdim=True).clamp(min=_TINY)
    return _across(across, here)  # once more, for what rounding has left along `here`


def _across(vectors: Tensor, here: Tensor) -> Tensor:
    """What of the vectors is at right angles to `here`."""
    return vectors - (vectors * here).sum(-1, keepdim=True) * here
