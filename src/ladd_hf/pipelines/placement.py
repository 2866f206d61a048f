"""Device and dtype of a pipeline's model, even if the model has no such attributes."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn


class PlacementMixin:
    """Device and dtype of a pipeline. Unlike in diffusers, the model need not have the attributes `device` and
    `dtype`."""

    model: Any

    @property
    def device(self) -> torch.device:
        """Device of the runs: the model's `device`, or that of its first parameter, or else the CPU."""
        told = getattr(self.model, "device", None)
        if told is not None:
            return torch.device(told)
        first = next(_tensors(self.model), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the model: its `dtype`, or that of its first floating-point parameter, or else float32."""
        told = getattr(self.model, "dtype", None)
        if isinstance(told, torch.dtype):
            return told
        return next((one.dtype for one in _tensors(self.model) if one.is_floating_point()), torch.float32)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Moves the pipeline like any other; a model without `dtype` is moved by `torch.nn.Module.to`."""
        if not isinstance(self.model, nn.Module) or hasattr(self.model, "dtype"):
            return super().to(*args, **kwargs)  # type: ignore[misc]
        kwargs.pop("silence_dtype_warnings", None)
        self.model.to(*args, **kwargs)
        return self


def _tensors(model: Any) -> Any:
    """Iterates over the parameters and buffers of a module; over nothing for other objects."""
    return chain[Tensor](model.parameters(), model.buffers()) if isinstance(model, nn.Module) else iter(())
