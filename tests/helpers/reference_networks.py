"""Networks of others that weights are taken from, spelled out after their layouts: MDLM, the authors' two streams."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F


def sinusoids(times, size=256):
    half = size // 2
    angles = times[:, None] * torch.exp(-math.log(10000) * torch.arange(half) / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def turned(x, positions):
    """Rotary positions, base 10,000; `x` is (B, length, heads, size)."""
    size = x.shape[-1]
    angles = positions[:, None] * 10000.0 ** (-torch.arange(0, size, 2) / size)
    cos, sin = (torch.cat([f(angles)] * 2, dim=-1)[None, :, None] for f in (torch.cos, torch.sin))
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def attend(qkv, heads):
    batch, length, width = qkv.shape
    query, key, value = qkv.view(batch, length, 3, heads, width // (3 * heads)).unbind(2)
    positions = torch.arange(length)
    query, key = turned(query, positions), turned(key, positions)
    weights = torch.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(query.shape[-1])
    return torch.einsum("bhqk,bkhd->bqhd", weights.softmax(-1), value).reshape(batch, length, -1)


class Norm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x):
        return F.layer_norm(x, x.shape[-1:]) * self.weight


class Table(nn.Module):
    def __init__(self, size, entries):
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(entries, size))

    def forward(self, ids):
        return self.embedding[ids]


class TimeMLP(nn.Module):
    def __init__(self, cond):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, cond), nn.SiLU(), nn.Linear(cond, cond))

    def forward(self, times):
        return self.mlp(sinusoids(times))


class Rotary(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.register_buffer("inv_freq", 10000.0 ** (-torch.arange(0, size, 2) / size))


def mlp(size):
    return nn.Sequential(nn.Linear(size, 4 * size), nn.GELU(approximate="tanh"), nn.Linear(4 * size, size))


class Block(nn.Module):
    def __init__(self, size, heads, cond):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = Norm(size), Norm(size)
        self.attn_qkv = nn.Linear(size, 3 * size, bias=False)
        self.attn_out = nn.Linear(size, size, bias=False)
        self.mlp = mlp(size)
        self.adaLN_modulation = nn.Linear(cond, 6 * size)

    def forward(self, x, c):
        shift, scale, gate, shift2, scale2, gate2 = self.adaLN_modulation(c)[:, None].chunk(6, dim=2)
        x = x + gate * self.attn_out(attend(self.attn_qkv(self.norm1(x) * (1 + scale) + shift), self.heads))
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


class FinalLayer(nn.Module):
    def __init__(self, size, out, cond):
        super().__init__()
        self.norm_final = Norm(size)
        self.linear = nn.Linear(size, out)
        self.adaLN_modulation = nn.Linear(cond, 2 * size)

    def forward(self, x, c):
        shift, scale = self.adaLN_modulation(c)[:, None].chunk(2, dim=2)
        return self.linear(self.norm_final(x) * (1 + scale) + shift)


class MDLM(nn.Module):
    """The published baseline, told no time."""

    def __init__(self, vocab=11, size=32, layers=2, heads=2, cond=16):
        super().__init__()
        self.vocab_embed = Table(size, vocab)
        self.sigma_map = TimeMLP(cond)
        self.rotary_emb = Rotary(size // heads)
        self.blocks = nn.ModuleList([Block(size, heads, cond) for _ in range(layers)])
        self.output_layer = FinalLayer(size, vocab, cond)

    def forward(self, ids):
        x, c = self.vocab_embed(ids), F.silu(self.sigma_map(torch.zeros(len(ids))))
        for block in self.blocks:
            x = block(x, c)
        return self.output_layer(x, c)


class TwoStreamBlock(nn.Module):
    def __init__(self, size, heads, cond):
        super().__init__()
        self.heads = heads
        for s in "xy":
            setattr(self, f"qkv_{s}", nn.Linear(size, 3 * size, bias=False))
            setattr(self, f"attn_out_{s}", nn.Linear(size, size, bias=False))
            setattr(self, f"norm1_{s}", Norm(size))
            setattr(self, f"norm2_{s}", Norm(size))
            setattr(self, f"mlp_{s}", mlp(size))
            setattr(self, f"adaLN_modulation_{s}", nn.Sequential(nn.SiLU(), nn.Linear(cond, 6 * size)))

    def forward(self, x, y, c):
        streams = {"x": x, "y": y}
        modulation = {s: getattr(self, f"adaLN_modulation_{s}")(c)[:, None].chunk(6, dim=2) for s in streams}
        qkv = [
            getattr(self, f"qkv_{s}")(getattr(self, f"norm1_{s}")(v) * (1 + modulation[s][1]) + modulation[s][0])
            for s, v in streams.items()
        ]
        attended = attend(torch.cat(qkv, dim=1), self.heads).split([x.shape[1], y.shape[1]], dim=1)
        for (s, v), a in zip(list(streams.items()), attended, strict=True):
            _, _, gate, shift, scale, gate2 = modulation[s]
            v = v + gate * getattr(self, f"attn_out_{s}")(a)
            hidden = getattr(self, f"norm2_{s}")(v) * (1 + scale) + shift
            streams[s] = v + gate2 * getattr(self, f"mlp_{s}")(hidden)
        return streams["x"], streams["y"]


class JointDenoiser(nn.Module):
    """The authors' joint denoiser."""

    def __init__(self, vocab=11, size=32, layers=2, heads=2, cond=16, latent_dim=3, latent_out=3):
        super().__init__()
        self.t_embedder, self.t_y_embedder = TimeMLP(cond), TimeMLP(cond)
        self.y_cond_embedder = nn.Sequential(nn.Linear(4 * latent_dim, cond), nn.SiLU(), nn.Linear(cond, cond))
        self.y_patch_embedder = nn.Sequential(nn.Linear(latent_dim, 4 * size), nn.SiLU(), nn.Linear(4 * size, size))
        self.w = Table(size, vocab)
        self.rotary_emb = Rotary(size // heads)
        self.blocks = nn.ModuleList([TwoStreamBlock(size, heads, cond) for _ in range(layers)])
        self.final_layer_x = FinalLayer(size, vocab, cond)
        self.final_layer_y = FinalLayer(size, latent_out, cond)

    def forward(self, ids, vectors, times_y):
        x, y = self.w(ids), self.y_patch_embedder(vectors)
        c = F.silu(self.t_embedder(torch.zeros(len(ids))) + self.t_y_embedder(times_y))
        for block in self.blocks:
            x, y = block(x, y, c)
        return self.final_layer_x(x, c), self.final_layer_y(y, c)


class Encoder(nn.Module):
    """The authors' encoder."""

    def __init__(self, vocab=11, size=32, layers=2, heads=2, cond=16, latent_length=4, latent_dim=3, unit=True):
        super().__init__()
        self.latent_length, self.unit = latent_length, unit
        self.w = Table(size, vocab)
        self.time_embedder = TimeMLP(cond)
        self.rotary_emb = Rotary(size // heads)
        self.blocks = nn.ModuleList([Block(size, heads, cond) for _ in range(layers)])
        self.final_layer = FinalLayer(size, latent_dim, cond)

    def forward(self, ids):
        x, c = self.w(ids), F.silu(self.time_embedder(torch.zeros(len(ids))))
        for block in self.blocks:
            x = block(x, c)
        y = self.final_layer(x, c)[:, -self.latent_length :]
        return F.normalize(y, dim=-1) if self.unit else y


@torch.no_grad()
def stirred(module, seed=0):
    """Every weight away from its start."""
    torch.manual_seed(seed)
    for weight in module.parameters():
        weight.add_(0.2 * torch.randn_like(weight))
    return module.eval()
