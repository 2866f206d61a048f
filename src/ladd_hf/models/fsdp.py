"""FSDP2 helpers: gather weights that are sharded over processes, and shard full tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(model: Any) -> bool:
    """Returns True if this process has only a shard of some weight; a denoiser that is no torch module has none."""
    return isinstance(model, nn.Module) and any(isinstance(parameter, DTensor) for parameter in model.parameters())


def full_tensor(tensor: Tensor) -> Tensor:
    """Returns the full tensor of a sharded one. Every process has to call it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharded_like(other: Tensor, tensor: Tensor) -> Tensor:
    """Shards a full tensor like another one."""
    if not isinstance(other, DTensor):
        return tensor
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements)


def reshard(model: nn.Module) -> None:
    """Frees weights gathered for a call; the parameters are shards again."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@contextmanager
def gathered_for(model: Any, *methods: str) -> Iterator[None]:
    """Context in which a model with sharded weights gathers them for calls of these methods as well as of `forward`.
    Has no effect on other models. Every process has to make the same calls."""
    if not isinstance(model, FSDPModule):
        yield
        return
    added = [name for name in methods if name not in vars(model)]
    for name in added:
        register_fsdp_forward_method(cast(nn.Module, model), name)
    try:
        yield
    finally:
        # `forward` calls such methods itself, and they would free weights that it still needs; torch has no function
        # that takes the registration back as of torch 2.13.0
        for name in added:
            delattr(model, name)
        reshard(cast(nn.Module, model))
