"""Transformer blocks of one or two streams that meet in one attention (MM-DiT). Paper, section 5.

The token stream and the latent stream have separate weights and attend over the concatenation [tokens; latents]. With
one stream it is the plain bidirectional transformer of MDLM, of the encoder and of the latent denoiser.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_ladd import LaddConfig

Rotary = tuple[Tensor, Tensor]


def rotary_embedding(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> Rotary:
    """Returns cosines and signed sines of rotary positions, which may be fractions: `(B, length, 1, 1, head_dim)` each.

    `positions` is `(B, length)`. Position 0 is the identity.
    """
    wide = torch.promote_types(dtype, torch.float32)
    exponent = torch.arange(0, head_dim, 2, device=positions.device, dtype=wide) / head_dim
    angles = positions.to(wide)[..., None] * theta**-exponent  # (B, length, head_dim / 2)
    cos, sin = angles.cos(), angles.sin()
    cos, sin = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)
    return cos[:, :, None, None].to(dtype), sin[:, :, None, None].to(dtype)


def apply_rotary(states: Tensor, rotary: Rotary) -> Tensor:
    """Rotates queries and keys `(B, length, 2, heads, head_dim)` by their positions: dimension i pairs with i +
    half."""
    cos, sin = rotary
    return torch.addcmul(states * cos, states.roll(states.shape[-1] // 2, dims=-1), sin)


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor]:
    """Computes attention eagerly: `(B, heads, length, head_dim)` to `(B, length, heads, head_dim)` and weights."""
    scores = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2), weights


class TimestepEmbedding(nn.Module):
    """Embeds times in [0, 1], `(B,)`, to vectors `(B, cond_hidden_size)`: 256 sinusoids and a two-layer MLP.

    Times are multiplied by `scale` before the sinusoids.

    Attributes:
        smooth: give forward derivatives as if the sinusoids were averages over times with a standard deviation of
            `span`, which changes nothing else. The fast ones tell neighbouring times apart, and what a network makes
            of them has derivatives many times as large as that of what it has learnt.
    """

    frequencies = 256
    span = 0.05

    def __init__(self, cond_hidden_size: int, scale: float = 1000) -> None:
        super().__init__()
        self.scale = scale
        self.smooth = False
        self.up_proj = nn.Linear(self.frequencies, cond_hidden_size)
        self.down_proj = nn.Linear(cond_hidden_size, cond_hidden_size)

    def forward(self, timesteps: Tensor) -> Tensor:
        """`(B,)` times to `(B, cond_hidden_size)`."""
        half, dtype = self.frequencies // 2, self.up_proj.bias.dtype  # weights may be int
        wide = torch.promote_types(dtype, torch.float32)
        exponent = torch.arange(half, device=timesteps.device, dtype=wide) / half
        angles = self.scale * timesteps.to(wide)[:, None] * 10000**-exponent
        if self.smooth:
            fixed = forward_ad.unpack_dual(angles).primal
            angles = fixed + (angles - fixed) * torch.exp(-(self.scale * 10000**-exponent * self.span).square() / 2)
        sinusoids = torch.cat([angles.cos(), angles.sin()], dim=-1).to(dtype)
        return self.down_proj(F.silu(self.up_proj(sinusoids)))


class Modulation(nn.Module):
    """Vectors that shift, scale and gate a stream: a map of the conditioning vector, initialised to zero.

    Without conditioning (`cond_hidden_size` 0) they are the same learned vectors for every input.
    """

    def __init__(self, cond_hidden_size: int, hidden_size: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.weight = nn.Parameter(torch.zeros(count * hidden_size, cond_hidden_size)) if cond_hidden_size else None
        self.bias = nn.Parameter(torch.zeros(count * hidden_size))

    def forward(self, conditioning: Tensor | None) -> tuple[Tensor, ...]:
        """`conditioning` is `(B, cond_hidden_size)`; returns `count` vectors `(B or 1, 1, hidden_size)`."""
        if self.weight is None or conditioning is None:
            vectors = self.bias[None, None]
        else:
            vectors = F.linear(F.silu(conditioning), self.weight, self.bias)[:, None]
        return vectors.chunk(self.count, dim=-1)


class ModulatedNorm(nn.LayerNorm):
    """norm(states) (1 + scale) + shift, in one kernel if shift and scale are the same for the whole batch."""

    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__(hidden_size, eps=eps, bias=False)

    def forward(self, states: Tensor, shift: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
        """`(..., hidden)` states; shift and scale `(B or 1, 1, hidden)`, or neither."""
        if shift is None or scale is None:
            return super().forward(states)
        if scale.shape[0] == 1:
            weight = self.weight * (1 + scale.view(-1))  # views: the gradient of an index is a copy
            return F.layer_norm(states, self.normalized_shape, weight, shift.view(-1), self.eps)
        return torch.addcmul(shift, super().forward(states), 1 + scale)


def gated_sum(states: Tensor, gate: Tensor | None, update: Tensor) -> Tensor:
    """Returns states + gate * update."""
    return states + update if gate is None else torch.addcmul(states, gate, update)


class Stream(nn.Module):
    """Weights of one stream in a block: norms, modulation, projections and MLP. States are `(B, length, hidden)`.

    Without a modulation (`cond_hidden_size` of `None`), as in an encoder, nothing is shifted, scaled or gated. A
    `read_only` stream is attended to but has no output, as in the last block if it is not used.
    """

    def __init__(
        self, config: LaddConfig, hidden_size: int, cond_hidden_size: int | None, read_only: bool = False
    ) -> None:
        super().__init__()
        self.read_only = read_only
        count = 2 if read_only else 6
        self.modulation = None if cond_hidden_size is None else Modulation(cond_hidden_size, hidden_size, count)
        self.attention_norm = ModulatedNorm(hidden_size, config.layer_norm_eps)
        self.qkv_proj = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        if read_only:
            return
        self.o_proj = nn.Linear(hidden_size, hidden_size, bias=False)
        self.mlp_norm = ModulatedNorm(hidden_size, config.layer_norm_eps)
        self.up_proj = nn.Linear(hidden_size, config.mlp_ratio * hidden_size)
        self.down_proj = nn.Linear(config.mlp_ratio * hidden_size, hidden_size)

    def modulate(self, conditioning: Tensor | None) -> tuple[Tensor | None, ...]:
        """Returns shift, scale and gate of the attention, then of the MLP; all `None` without a modulation."""
        return (None,) * 6 if self.modulation is None else self.modulation(conditioning)

    def project(self, states: Tensor, modulation: tuple[Tensor | None, ...]) -> Tensor:
        """Returns queries, keys and values, concatenated, `(B, length, 3 * hidden)`."""
        shift, scale, *_ = modulation
        return self.qkv_proj(self.attention_norm(states, shift, scale))

    def update(self, states: Tensor, attended: Tensor, modulation: tuple[Tensor | None, ...]) -> Tensor:
        """Returns the states after the gated attention and the gated MLP; unchanged if read only."""
        if self.read_only:
            return states
        _, _, attention_gate, shift, scale, mlp_gate = modulation
        states = gated_sum(states, attention_gate, self.o_proj(attended))
        hidden = self.mlp_norm(states, shift, scale)
        hidden = self.down_proj(F.gelu(self.up_proj(hidden), approximate="tanh"))
        return gated_sum(states, mlp_gate, hidden)


class JointAttention(nn.Module):
    """Bidirectional attention over all streams, through transformers' attention interface. It has no weights."""

    def __init__(self, config: LaddConfig, num_heads: int) -> None:
        super().__init__()
        self.config = config
        self.num_heads = num_heads
        self.num_key_value_groups = 1
        self.is_causal = False
        self.attention_dropout = config.attention_dropout

    def forward(
        self, qkv: Tensor, rotary: Rotary, attention_mask: Tensor | None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """`qkv` is `(B, length, 3 * hidden)`; returns `(B, length, hidden)` and the weights, if they are computed."""
        batch, length, width = qkv.shape
        qkv = qkv.view(batch, length, 3, self.num_heads, width // (3 * self.num_heads))
        turned, value = qkv.split([2, 1], dim=2)
        query, key = apply_rotary(turned, rotary).transpose(1, 3).unbind(2)  # (B, heads, length, head_dim)
        value = value.squeeze(2).transpose(1, 2)
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attended, weights = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=1 / math.sqrt(query.shape[-1]),
            **kwargs,
        )
        return attended.reshape(batch, length, -1), weights


class LaddBlock(GradientCheckpointingLayer):
    """One block: each stream modulated, one attention over all, each stream updated.

    Args:
        config: for widths of the MLP, norms and attention.
        streams: names of the streams, in the order of the concatenation.
        hidden_size, num_heads: of every stream.
        cond_hidden_size: size of the conditioning vector; 0: constant modulation, `None`: no modulation.
        read_only: name of a stream without output.
    """

    def __init__(
        self,
        config: LaddConfig,
        streams: tuple[str, ...],
        hidden_size: int,
        num_heads: int,
        cond_hidden_size: int | None = None,
        read_only: str | None = None,
    ) -> None:
        super().__init__()
        self.streams = nn.ModuleDict(
            {name: Stream(config, hidden_size, cond_hidden_size, name == read_only) for name in streams}
        )
        self.attention = JointAttention(config, num_heads)

    def __call__(self, states: Tensor | None, other_states: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:
        """Enables gradients of the states for reentrant checkpointing, which passes gradients on only if an input
        requires them, unlike the states of fixed embeddings, as with adapters."""
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            if states is not None and not states.requires_grad:
                states = states.detach().requires_grad_()
            elif states is None and other_states is not None and not other_states.requires_grad:
                other_states = other_states.detach().requires_grad_()
        return super().__call__(states, other_states, *args, **kwargs)

    def forward(
        self,
        states: Tensor | None,
        other_states: Tensor | None = None,
        conditioning: Tensor | None = None,
        rotary: Rotary | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Updates the states of the first stream, the second, or both, `(B, length, hidden)` each."""
        of_block = cast(list[Stream], list(self.streams.values()))
        given = [pair for pair in zip(of_block, (states, other_states), strict=False) if pair[1] is not None]
        streams, inputs = [one for one, _ in given], [x for _, x in given if x is not None]
        modulations = [stream.modulate(conditioning) for stream in streams]
        projected = [s.project(x, m) for s, x, m in zip(streams, inputs, modulations, strict=True)]
        qkv = projected[0] if len(projected) == 1 else torch.cat(projected, dim=1)
        attended, _ = self.attention(qkv, rotary, attention_mask, **kwargs)
        parts = attended.split([x.shape[1] for x in inputs], dim=1)
        outputs = [s.update(x, a, m) for s, x, a, m in zip(streams, inputs, parts, modulations, strict=True)]
        if states is None:
            return None, outputs[0]
        return outputs[0], outputs[1] if len(outputs) == 2 else None


class ZeroInitLinear(nn.Linear):
    """A linear map initialised to zero; its type is recognised by the model's `_init_weights`."""


class OutputHead(nn.Module):
    """Modulated norm and a linear map initialised to zero: `(..., hidden)` to `(..., size)`."""

    def __init__(self, hidden_size: int, size: int, cond_hidden_size: int, eps: float) -> None:
        super().__init__()
        self.modulation = Modulation(cond_hidden_size, hidden_size, count=2)
        self.norm = ModulatedNorm(hidden_size, eps)
        self.proj: nn.Linear = ZeroInitLinear(hidden_size, size)

    def modulate(self, states: Tensor, conditioning: Tensor | None) -> Tensor:
        """Returns the normalised, shifted and scaled states, `(B, length, hidden)`."""
        shift, scale = self.modulation(conditioning)
        return self.norm(states, shift, scale)

    def forward(self, states: Tensor, conditioning: Tensor | None) -> Tensor:
        """`(B, length, hidden)` and `(B, cond_hidden_size)` or `None` to `(B, length, size)`."""
        return self.proj(self.modulate(states, conditioning))


class ResidualMLP(nn.Module):
    """The wide shallow head for high-dimensional latents: residual layers of a larger width. Paper, section 5."""

    def __init__(self, hidden_size: int, width: int, num_layers: int, eps: float) -> None:
        super().__init__()
        self.in_proj = nn.Linear(hidden_size, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width, eps=eps, bias=False) for _ in range(num_layers)])
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(num_layers)])

    def forward(self, states: Tensor) -> Tensor:
        """`(B, length, hidden)` to `(B, length, width)`."""
        states = self.in_proj(states)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            states = states + F.silu(layer(norm(states)))
        return states
