"""The time that a step of latents leads to as an input of the denoiser, and derivatives along its way. Ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import initialization as init

from .eval_mode import evaluation_mode
from .transformer import TimestepEmbedding, ZeroInitLinear

_NAME = "jump_embedding"  # of the embedding in a denoiser
_SEED = 0  # of initial weights


class SeededLinear(nn.Linear):
    """A linear map whose initial weights are always the same."""

    def reset(self, std: float) -> None:
        """Initialises the weights with normal numbers of a fixed seed, unless they were loaded."""
        drawn = torch.randn(self.weight.shape, generator=torch.Generator().manual_seed(_SEED), device="cpu")
        init.copy_(self.weight, std * drawn)


class JumpEmbedding(nn.Module):
    """Embeds the length t - r of jumps in time, `(B,)` in [0, 1], to vectors `(B, cond_hidden_size)`: sines and two
    linear maps without bias.

    It is zero for a jump of no length, and for every other one until it is trained: the network is then the one that
    predicts the mean of y_0. The sines are slow, since the derivative by t is a part of what is learnt.

    A fresh one is always the same, so that what was trained on it, such as an adapter, fits a model that is loaded anew
    from a checkpoint without it.
    """

    frequencies = 32
    fastest = 16.0  # radians per unit of time

    def __init__(self, cond_hidden_size: int) -> None:
        super().__init__()
        self.up_proj = SeededLinear(self.frequencies, cond_hidden_size, bias=False)
        self.down_proj = ZeroInitLinear(cond_hidden_size, cond_hidden_size, bias=False)

    def forward(self, timesteps: Tensor, targets: Tensor, like: Tensor) -> Tensor:
        """`(B,)` or `(1,)` times t and r to `(B or 1, cond_hidden_size)` in the type of `like`."""
        wide = torch.promote_types(like.dtype, torch.float32)
        places = torch.arange(1, self.frequencies + 1, device=timesteps.device, dtype=wide)
        angles = (timesteps - targets).to(wide)[:, None] * (self.fastest * places / self.frequencies)
        return self.down_proj(F.silu(self.up_proj(angles.sin().to(like.dtype))))


@contextmanager
def tangent_mode(model: Any) -> Iterator[None]:
    """Context in which a model is in evaluation mode and has forward derivatives.

    Attention is computed eagerly, for fused kernels have none, and times are embedded with smooth ones.
    """
    config, embeddings = model.config, [one for one in model.modules() if isinstance(one, TimestepEmbedding)]
    before = config._attn_implementation
    with evaluation_mode(model):
        config._attn_implementation = "eager"
        for one in embeddings:
            one.smooth = True
        try:
            yield
        finally:
            config._attn_implementation = before
            for one in embeddings:
                one.smooth = False


def without_jumps(info: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what loading a checkpoint found, but for all missing weights of [`JumpEmbedding`]s: a model that was
    saved without them is the same with fresh ones."""
    missing = {name for name in info["missing_keys"] if f".{_NAME}." in f".{name}"}
    return {**info, "missing_keys": set(info["missing_keys"]) - missing}
