"""Networks of others in plain torch, with the parameter names of their checkpoints: MDLM, and the LADD authors'."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Rotary(nn.Module):
    """Frequencies of base 10,000, kept as a buffer; the first half of a head's numbers is paired with the second."""

    def __init__(self, head_dim):
        super().__init__()
        self.register_buffer("inv_freq", 10000.0 ** (-torch.arange(0, head_dim, 2) / head_dim))

    def forward(self, states):
        """Turns `(B, length, heads, head_dim)` by the places 0, 1, 2, ..."""
        angles = torch.arange(states.shape[1])[:, None] * self.inv_freq
        cos, sin = angles.cos()[:, None], angles.sin()[:, None]
        first, second = states.chunk(2, dim=-1)
        return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class TimeEmbedding(nn.Module):
    """256 sinusoids of the time as it is, and a two-layer MLP."""

    def __init__(self, cond):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, cond), nn.SiLU(), nn.Linear(cond, cond))

    def forward(self, time):
        angles = time[:, None] * 10000.0 ** (-torch.arange(128) / 128)
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=1))


class Norm(nn.Module):
    """LayerNorm with a weight and no bias."""

    def __init__(self, hidden):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden))

    def forward(self, states, shift, scale):
        return F.layer_norm(states, states.shape[-1:]) * self.weight * (1 + scale) + shift


class Table(nn.Module):
    """Token embeddings."""

    def __init__(self, count, hidden):
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(count, hidden))


def mlp(hidden):
    return nn.Sequential(nn.Linear(hidden, 4 * hidden), nn.GELU(approximate="tanh"), nn.Linear(4 * hidden, hidden))


def attend(qkv, heads, rotary):
    """Bidirectional attention of `(B, length, 3 hidden)`, spelled out."""
    batch, length, width = qkv.shape
    query, key, value = qkv.view(batch, length, 3, heads, width // 3 // heads).unbind(2)
    query, key = rotary(query), rotary(key)
    scores = torch.einsum("bihd,bjhd->bhij", query, key) / query.shape[-1] ** 0.5
    return torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), value).flatten(2)


class Block(nn.Module):
    """One stream."""

    def __init__(self, hidden, heads, cond):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = Norm(hidden), Norm(hidden)
        self.attn_qkv = nn.Linear(hidden, 3 * hidden, bias=False)
        self.attn_out = nn.Linear(hidden, hidden, bias=False)
        self.mlp = mlp(hidden)
        self.adaLN_modulation = nn.Linear(cond, 6 * hidden)

    def forward(self, x, c, rotary):
        vectors = self.adaLN_modulation(c)[:, None].chunk(6, dim=2)
        x = x + vectors[2] * self.attn_out(attend(self.attn_qkv(self.norm1(x, *vectors[:2])), self.heads, rotary))
        return x + vectors[5] * self.mlp(self.norm2(x, *vectors[3:5]))


class FinalLayer(nn.Module):
    """Modulated norm and a linear map."""

    def __init__(self, hidden, size, cond):
        super().__init__()
        self.norm_final = Norm(hidden)
        self.linear = nn.Linear(hidden, size)
        self.adaLN_modulation = nn.Linear(cond, 2 * hidden)

    def forward(self, x, c):
        return self.linear(self.norm_final(x, *self.adaLN_modulation(c)[:, None].chunk(2, dim=2)))


class MDLM(nn.Module):
    """The network of MDLM without time conditioning: it is told noise level 0, whatever the level."""

    def __init__(self, vocab=11, hidden=16, heads=2, cond=8, layers=2):
        super().__init__()
        self.vocab_embed = Table(vocab, hidden)
        self.sigma_map = TimeEmbedding(cond)
        self.rotary_emb = Rotary(hidden // heads)
        self.blocks = nn.ModuleList([Block(hidden, heads, cond) for _ in range(layers)])
        self.output_layer = FinalLayer(hidden, vocab, cond)

    def forward(self, tokens):
        x, c = self.vocab_embed.embedding[tokens], F.silu(self.sigma_map(torch.zeros(len(tokens))))
        for block in self.blocks:
            x = block(x, c, self.rotary_emb)
        return self.output_layer(x, c)


def stirred(network, seed=0):
    """Noise on every weight, so that each of them is seen in the outputs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name and name.endswith("weight") and parameter.ndim == 1:
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(noise / parameter.shape[-1] ** 0.5)
    return network.eval()
