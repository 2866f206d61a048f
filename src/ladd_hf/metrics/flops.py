"""Floating-point operations as they are dispatched: of matrix products, attention and convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count


def _attention(query: Any, key: Any, value: Any, *others: Any, out_shape: Any = None, **options: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(
    gradient: Any, query: Any, key: Any, value: Any, *others: Any, out_shape: Any = None, **options: Any
) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


# Kernels that torch's registry leaves out as of torch 2.13.0 (pytorch/pytorch#195460), as mappings of shapes to
# operations.
ATTENTION_ON_A_CPU: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


class FlopCounter(TorchDispatchMode):
    """Context that counts the floating-point operations run in it, of backward passes too; a multiplication and an
    addition are two.

    Unlike torch's `FlopCounterMode` it follows no modules, so that it puts no hooks on a model that is being trained.
    Normalisations, softmaxes and other operations on single elements are not counted.

    Attributes:
        flops: their number so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func._overloadpacket
        output = func(*args, **kwargs)
        if packet in ATTENTION_ON_A_CPU:
            self.flops += ATTENTION_ON_A_CPU[packet](*_shapes(args))
        elif packet in flop_registry:
            self.flops += flop_registry[packet](*args, **kwargs, out_val=output)
        return output


def _shapes(values: Any) -> list[Any]:
    return [one.shape if isinstance(one, torch.Tensor) else one for one in values]
