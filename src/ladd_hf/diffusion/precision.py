"""Precision of losses, noise and weight averages."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Converts half precision to float32 and leaves float32 and float64 as they are: the precision of losses, noise
    and weight averages."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def full_precision(like: Tensor) -> AbstractContextManager:
    """Context in which products of tensors on the device of `like` keep their precision, within autocast too."""
    kind = like.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
