"""Maps from the states of a text to latents: linear ones, and attention over the whole text. Paper, section 4."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..diffusion.precision import at_least_float32
from .chunks import range_mask


class LatentReadout(nn.Linear):
    """A map from states to latents; its type makes the model's `_init_weights` initialise it for unit variance."""


class GlobalReadout(nn.Module):
    """Reads G vectors from the states of a whole text, by attention with a learned query for each. Ours.

    A fresh one attends almost evenly, so that it begins with the mean of the text.

    Args:
        count: number G of vectors.
        hidden_size: size of the states.
        num_heads: heads, which divide it evenly.
        size: size of a vector.
        eps: of the norm.
    """

    def __init__(self, count: int, hidden_size: int, num_heads: int, size: int, eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.queries = nn.Embedding(count, hidden_size)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size, bias=False)
        self.norm = nn.LayerNorm(hidden_size, eps=eps, bias=False)
        self.proj = LatentReadout(hidden_size, size)

    def forward(self, states: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
        """`(B, S, hidden_size)` states to `(B, G, size)`; texts of `lengths` tokens begin at `starts`, `(B,)` or `(1,)`
        each, and padding is not read."""
        keys, values = map(self._heads, self.key_value(states).chunk(2, dim=-1))  # (B, heads, S, head size)
        queries = self._heads(self.queries.weight[None].expand(len(states), -1, -1))
        read = range_mask(torch.zeros_like(lengths)[:, None], lengths[:, None], starts, states.shape[1])  # (B, 1, S)
        # written out, for fused attention has no forward derivative as of torch 2.13.0 (pytorch/pytorch#128971); in a
        # row without tokens all weights are 0
        scores = at_least_float32(queries.to(keys) * keys.shape[-1] ** -0.5 @ keys.mT)
        weights = scores.masked_fill(~read[:, None], torch.finfo(scores.dtype).min).softmax(-1) * read[:, None]
        vectors: Tensor = self.proj(self.norm((weights.to(values) @ values).transpose(1, 2).flatten(2)))
        return vectors

    def _heads(self, vectors: Tensor) -> Tensor:
        return vectors.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
