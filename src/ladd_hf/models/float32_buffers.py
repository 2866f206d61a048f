"""Buffers that stay in float32, whatever the model is converted to."""

from __future__ import annotations

from typing import Any, Self

from torch import nn


class Float32Buffers(nn.Module):
    """Module whose buffers are moved to other devices, but never to a lower precision."""

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        kept = dict(self.named_buffers())
        super()._apply(fn, recurse)
        for name, before in kept.items():
            after = getattr(self, name)
            if after.dtype != before.dtype:
                setattr(self, name, before.to(after.device))
        return self
