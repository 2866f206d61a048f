"""Precision of losses, noise and weight averages."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Converts half precision to float32 and leaves float32 and float64 as they are: the precision of losses, noise
    and weight averages."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def uncached_autocast(like: Tensor) -> AbstractContextManager:
    """Context of an evaluation without gradient before one with it: autocast as it is, but for its memory of cast
    weights, which before torch 2.11 have no gradient in the second evaluation (pytorch/pytorch#165068)."""
    kind = like.device.type
    if not torch.amp.is_autocast_available(kind):
        return nullcontext()
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return torch.autocast(kind, enabled=enabled, dtype=dtype, cache_enabled=False)


def full_precision(like: Tensor) -> AbstractContextManager:
    """Context in which products of tensors on the device of `like` keep their precision, within autocast too."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
