"""FSDP2 helpers: gathers weights that are sharded over processes, and shards whole ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(model: nn.Module) -> bool:
    """True if this process has only a shard of some weight."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def full_tensor(tensor: Tensor) -> Tensor:
    """A tensor as it is without sharding. Every process has to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def sharded_like(other: Tensor, tensor: Tensor) -> Tensor:
    """Shards a whole tensor like another one."""
    if not isinstance(other, DTensor):
        return tensor
    return distribute_tensor(tensor.to(other.device), other.device_mesh, other.placements)


def reshard(model: nn.Module) -> None:
    """Frees weights that were gathered for a call: the parameters are shards again."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


@contextmanager
def gathered_for(model: Any, *methods: str) -> Iterator[None]:
    """Within it, a model whose weights are sharded puts them together for calls of these methods, not of `forward`
    alone; other models are left as they are. Every process has to make the same calls."""
    if not isinstance(model, FSDPModule):
        yield
        return
    added = [name for name in methods if name not in vars(model)]
    for name in added:
        register_fsdp_forward_method(cast(nn.Module, model), name)
    try:
        yield
    finally:
        for name in added:  # `forward` calls such methods itself, and they would let go of the weights that it needs
            delattr(model, name)
        reshard(cast(nn.Module, model))
