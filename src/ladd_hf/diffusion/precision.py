"""In which precision losses are computed."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision as float32, float32 and float64 as they are: what losses, noise and the
    average of the weights are computed in."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
