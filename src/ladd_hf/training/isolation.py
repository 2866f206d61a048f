"""Isolates measurements from training: random numbers, weights and their dtype are restored afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.distributed.tensor import DTensor


@contextmanager
def isolated_randomness(device: torch.device) -> Iterator[None]:
    """Context in which global random numbers are drawn as usual; the generators' states are restored afterwards."""
    states = random.getstate(), np.random.get_state()
    on_device = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(on_device, device_type=device.type if on_device else "cuda"):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextmanager
def in_dtype(model: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """Context in which floating-point weights and buffers are rounded to `dtype`; they are restored afterwards.

    `None` has no effect. Raises `ValueError` for sharded weights.
    """
    tensors = [] if dtype is None else [*model.parameters(), *model.buffers()]
    if any(isinstance(tensor, DTensor) for tensor in tensors):
        raise ValueError(
            f"Sharded weights cannot be rounded to {dtype} for an evaluation: leave `bf16_full_eval` and "
            "`fp16_full_eval` out, and train in `bf16`."
        )
    exact = [(tensor, tensor.data) for tensor in tensors if tensor.is_floating_point()]
    try:
        for tensor, data in exact:
            tensor.data = data.to(dtype)
        yield
    finally:
        for tensor, data in exact:
            tensor.data = data
