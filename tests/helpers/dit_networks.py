"""Foreign networks in plain torch, with the parameter names of their checkpoints: MDLM, and the LADD authors'."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

# What the published checkpoint's config.json holds, for the network below.
MDLM_CONFIG = {
    "model_type": "mdlm",
    "vocab_size": 11,
    "model_length": 12,
    "hidden_dim": 16,
    "cond_dim": 8,
    "n_blocks": 2,
    "n_heads": 2,
    "dropout": 0.1,
    "time_conditioning": False,
}


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
    """The network of MDLM without time conditioning: it is conditioned on noise level 0 for every level."""

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


class TwoStreamBlock(nn.Module):
    """Tokens `x` and latents `y` in one attention; the modulation has a SiLU of its own."""

    def __init__(self, hidden, heads, cond, latents_turn):
        super().__init__()
        self.heads, self.latents_turn = heads, latents_turn
        for name in "xy":
            setattr(self, f"qkv_{name}", nn.Linear(hidden, 3 * hidden, bias=False))
            setattr(self, f"attn_out_{name}", nn.Linear(hidden, hidden, bias=False))
            setattr(self, f"norm1_{name}", Norm(hidden))
            setattr(self, f"norm2_{name}", Norm(hidden))
            setattr(self, f"mlp_{name}", mlp(hidden))
            setattr(self, f"adaLN_modulation_{name}", nn.Sequential(nn.SiLU(), nn.Linear(cond, 6 * hidden)))

    def forward(self, x, y, c, rotary):
        states = {"x": x, "y": y}
        part = {key: {name: getattr(self, f"{key}_{name}") for name in "xy"} for key in ("qkv", "norm1", "norm2")}
        vectors = {n: getattr(self, f"adaLN_modulation_{n}")(c)[:, None].chunk(6, dim=2) for n in "xy"}
        qkv = [part["qkv"][n](part["norm1"][n](states[n], *vectors[n][:2])) for n in "xy"]

        def turn(heads):
            turned = rotary(heads)
            return turned if self.latents_turn else torch.cat([turned[:, : x.shape[1]], heads[:, x.shape[1] :]], dim=1)

        attended = attend(torch.cat(qkv, dim=1), self.heads, turn).split([x.shape[1], y.shape[1]], dim=1)
        for name, update in zip("xy", attended, strict=True):
            state = states[name] + vectors[name][2] * getattr(self, f"attn_out_{name}")(update)
            update = getattr(self, f"mlp_{name}")(part["norm2"][name](state, *vectors[name][3:5]))
            states[name] = state + vectors[name][5] * update
        return states["x"], states["y"]


class JointDenoiser(nn.Module):
    """The authors' denoiser of tokens and latents; a time that is not given is 0."""

    def __init__(self, vocab=11, dim=3, out=3, hidden=16, heads=2, cond=8, layers=2, slots=None):
        super().__init__()
        self.y_slot_embeddings = nn.Parameter(torch.zeros(slots, hidden)) if slots else None
        self.t_embedder, self.t_y_embedder = TimeEmbedding(cond), TimeEmbedding(cond)
        self.y_cond_embedder = nn.Sequential(nn.Linear(4 * dim, cond), nn.SiLU(), nn.Linear(cond, cond))  # unused
        self.y_patch_embedder = nn.Sequential(nn.Linear(dim, 4 * hidden), nn.SiLU(), nn.Linear(4 * hidden, hidden))
        self.w = Table(vocab, hidden)
        self.rotary_emb = Rotary(hidden // heads)
        self.blocks = nn.ModuleList([TwoStreamBlock(hidden, heads, cond, not slots) for _ in range(layers)])
        self.final_layer_x, self.final_layer_y = FinalLayer(hidden, vocab, cond), FinalLayer(hidden, out, cond)

    def forward(self, tokens, latents, token_times=None, latent_times=None):
        x, y = self.w.embedding[tokens], self.y_patch_embedder(latents)
        if self.y_slot_embeddings is not None:
            y = y + self.y_slot_embeddings
        never = torch.zeros(len(tokens))
        times = (never if one is None else one for one in (token_times, latent_times))
        c = F.silu(self.t_embedder(next(times)) + self.t_y_embedder(next(times)))
        for block in self.blocks:
            x, y = block(x, y, c, self.rotary_emb)
        return self.final_layer_x(x, c), self.final_layer_y(y, c)


class LatentDenoiser(nn.Module):
    """The authors' denoiser of latents alone."""

    def __init__(self, dim=3, hidden=16, heads=2, cond=8, layers=3):
        super().__init__()
        self.y_patch_embedder = nn.Linear(dim, hidden)
        self.t_y_embedder = TimeEmbedding(cond)
        self.rotary_emb = Rotary(hidden // heads)
        self.blocks = nn.ModuleList([Block(hidden, heads, cond) for _ in range(layers)])
        self.final_layer_y = FinalLayer(hidden, dim, cond)

    def forward(self, latents, times):
        y, c = self.y_patch_embedder(latents), F.silu(self.t_y_embedder(times))
        for block in self.blocks:
            y = block(y, c, self.rotary_emb)
        return self.final_layer_y(y, c)


class Encoder(nn.Module):
    """The authors' encoder: the outputs at the last places are the latents, of length 1 if `normalized`."""

    def __init__(self, vocab=11, dim=3, latents=4, hidden=24, heads=3, cond=6, layers=1, normalized=True):
        super().__init__()
        self.latents, self.normalized = latents, normalized
        self.w = Table(vocab, hidden)
        self.time_embedder = TimeEmbedding(cond)
        self.rotary_emb = Rotary(hidden // heads)
        self.blocks = nn.ModuleList([Block(hidden, heads, cond) for _ in range(layers)])
        self.final_layer = FinalLayer(hidden, dim, cond)

    def forward(self, tokens):
        x, c = self.w.embedding[tokens], F.silu(self.time_embedder(torch.zeros(len(tokens))))
        for block in self.blocks:
            x = block(x, c, self.rotary_emb)
        latents = self.final_layer(x, c)[:, -self.latents :]
        return F.normalize(latents, dim=-1) if self.normalized else latents


class Codebook(nn.Module):
    """The authors' quantiser of codes by cosine similarity: unit vectors, and a vector for the mask code."""

    def __init__(self, codes=8, dim=3):
        super().__init__()
        self.z_mask = nn.Parameter(torch.zeros(dim))
        self.vqvae = nn.Module()
        self.vqvae._codebook = nn.Module()
        vectors = F.normalize(torch.randn(1, codes, dim, generator=torch.Generator().manual_seed(5)), dim=-1)
        state = {"initted": torch.tensor(True), "cluster_size": 3 * torch.ones(1, codes), "embed_avg": 3 * vectors}
        for name, value in {**state, "embed": vectors}.items():
            self.vqvae._codebook.register_buffer(name, value)

    def nearest(self, latents):
        """The codes of latents `(B, M, D)`."""
        return (F.normalize(latents, dim=-1) @ self.vqvae._codebook.embed[0].T).argmax(-1)

    def vectors(self, codes):
        """Code vectors `(B, M, D)`, the mask's for the last code."""
        return torch.cat([self.vqvae._codebook.embed[0], self.z_mask[None]])[codes]
