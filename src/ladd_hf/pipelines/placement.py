"""Where a pipeline's model is, and in which precision: also of a model that does not tell by itself."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn


class PlacementMixin:
    """Device and dtype of a pipeline, where diffusers asks the model for attributes that a plain denoiser need not
    have."""

    model: Any

    @property
    def device(self) -> torch.device:
        """Where runs take place: the model's own `device`, or that of its first parameter, or else the CPU."""
        told = getattr(self.model, "device", None)
        if told is not None:
            return torch.device(told)
        first = next(_tensors(self.model), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def dtype(self) -> torch.dtype:
        """The model's own `dtype`, or that of its first floating parameter, or else float32."""
        told = getattr(self.model, "dtype", None)
        if isinstance(told, torch.dtype):
            return told
        return next((one.dtype for one in _tensors(self.model) if one.is_floating_point()), torch.float32)

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """As of any pipeline; a module without `dtype` and `device` is moved as torch moves modules."""
        if not isinstance(self.model, nn.Module) or hasattr(self.model, "dtype"):
            return super().to(*args, **kwargs)  # type: ignore[misc]
        kwargs.pop("silence_dtype_warnings", None)
        self.model.to(*args, **kwargs)
        return self


def _tensors(model: Any) -> Any:
    """Parameters and buffers of a module; none of anything else."""
    return chain[Tensor](model.parameters(), model.buffers()) if isinstance(model, nn.Module) else iter(())
