"""Converts weights of DiT networks, named as in MDLM and in the authors' research code, to this library's networks.

A network without time conditioning has the same conditioning vector for every input, and so the same modulation
vectors: they become the biases of a `Modulation` without conditioning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.transformer import TimestepEmbedding

Weights = dict[str, Tensor]


class SourceWeights:
    """A checkpoint's weights, each to be taken once; `close` raises an error for missing, mis-shaped or unused ones.

    Args:
        weights: tensors by name.
        origin: the checkpoint's name in errors.
    """

    def __init__(self, weights: Mapping[str, Tensor], origin: str) -> None:
        self.origin = origin
        self._stored = sum(weight.numel() for weight in weights.values())
        self._left = dict(weights)
        self._missing: list[str] = []
        self._misshaped: list[str] = []

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the weights that are not taken yet."""
        return tuple(self._left)

    def sizes(self, name: str) -> torch.Size:
        """Returns the shape of a weight, of any number of dimensions. Raises `ValueError` if it is missing."""
        if name not in self._left:
            raise ValueError(
                f"{self.origin} has no weight {name}, from which sizes of the network are read: give a checkpoint of "
                "the documented layout."
            )
        return self._left[name].shape

    def shape(self, name: str, dims: int) -> torch.Size:
        """Returns the shape of a weight of `dims` dimensions, to read a size from. Raises `ValueError` for another
        number of dimensions, or an empty one."""
        shape = self.sizes(name)
        if len(shape) != dims or 0 in shape:
            raise ValueError(
                f"{self.origin} has the weight {name} in the shape {tuple(shape)}, from which sizes of the network are "
                f"read, and which has {dims} dimensions of at least 1: give a checkpoint of the documented layout."
            )
        return shape

    def num_blocks(self, prefix: str) -> int:
        """Returns the number of blocks below `prefix`. Raises `ValueError` unless they are numbered from 0."""
        start = f"{prefix}blocks."
        found = {name.removeprefix(start).split(".")[0] for name in self.names if name.startswith(start)}
        if found != {str(number) for number in range(len(found))}:
            wrong = ", ".join(sorted(found - {str(number) for number in range(len(found))})[:5])
            raise ValueError(
                f"{self.origin} has {len(found)} blocks `{start}`, which are not numbered from 0 on ({wrong} among "
                "them): give a checkpoint of the documented layout, whole and unchanged."
            )
        return len(found)

    def take(self, name: str, *shape: int) -> Tensor:
        """Returns the weight in float32, of exactly this shape; zeros for a mis-shaped one, which `close` reports."""
        weight = self._left.pop(name, None)
        if weight is None:
            self._missing.append(name)
        elif weight.shape != shape:
            self._misshaped.append(f"{name} {tuple(weight.shape)} instead of {shape}")
        else:
            return weight.detach().float()
        if math.prod(shape) > self._stored:  # impossible sizes for this network
            self.close()
        return torch.zeros(shape)

    def leave(self, names: Iterable[str]) -> list[str]:
        """Drops these weights on purpose; returns the names of those that existed."""
        return [name for name in names if self._left.pop(name, None) is not None]

    def close(self) -> None:
        """Raises `ValueError` naming all weights that were missing, mis-shaped or not taken."""
        found = {"missing": self._missing, "mis-shaped": self._misshaped, "unknown": sorted(self._left)}
        faults = [f"{kind}: {', '.join(names)}" for kind, names in found.items() if names]
        if faults:
            raise ValueError(
                f"{self.origin} does not fit the network that its settings describe; {'; '.join(faults)}. Give a "
                "checkpoint of the documented layout, whole and unchanged."
            )


@dataclass(frozen=True)
class DitSizes:
    """Sizes of a DiT network: states, conditioning vector, MLPs."""

    hidden: int
    cond: int
    mlp: int


def check_rotary(weights: SourceWeights, name: str, head_dim: int) -> None:
    """Takes the rotary frequencies, if they were saved. Raises `ValueError` unless they are of base 10,000."""
    if name not in weights.names:
        return
    saved = weights.take(name, head_dim // 2)
    expected = 10000.0 ** -(torch.arange(head_dim // 2) / (head_dim // 2))
    # Half precision keeps them to a per cent. `take` returns zeros for mis-shaped weights; `close` reports them.
    if saved.any() and not torch.allclose(saved, expected, rtol=1e-2):
        raise ValueError(
            f"{weights.origin} has rotary frequencies {name} of another base than 10,000, the documented layout's: "
            "give a checkpoint of that layout."
        )


def time_embedding(weights: SourceWeights, source: str, cond: int) -> Weights:
    """Returns a `TimestepEmbedding`'s weights: the two-layer MLP over sinusoids of time."""
    return {
        "up_proj.weight": weights.take(f"{source}.mlp.0.weight", cond, TimestepEmbedding.frequencies),
        "up_proj.bias": weights.take(f"{source}.mlp.0.bias", cond),
        "down_proj.weight": weights.take(f"{source}.mlp.2.weight", cond, cond),
        "down_proj.bias": weights.take(f"{source}.mlp.2.bias", cond),
    }


def embedding_of_zero(embedding: Weights) -> Tensor:
    """Computes a time embedding at time 0, where each cosine is 1 and each sine 0: `(cond,)` float64."""
    names = ("up_proj.weight", "up_proj.bias", "down_proj.weight", "down_proj.bias")
    up, up_bias, down, down_bias = (embedding[name].double() for name in names)
    cosines = up[:, : up.shape[1] // 2].sum(1)
    return down @ F.silu(cosines + up_bias) + down_bias


def modulation(weights: SourceWeights, source: str, count: int, sizes: DitSizes, constant: Tensor | None) -> Weights:
    """Returns a `Modulation`'s weights for `count` vectors; only biases if its input is `constant`, `(cond,)`."""
    weight = weights.take(f"{source}.weight", count * sizes.hidden, sizes.cond)
    bias = weights.take(f"{source}.bias", count * sizes.hidden)
    if constant is None:
        return {"weight": weight, "bias": bias}
    return {"bias": (weight.double() @ constant + bias).float()}


def stream(
    weights: SourceWeights, block: str, sizes: DitSizes, constant: Tensor | None, name: str | None = None
) -> Weights:
    """Returns a `Stream`'s weights from the block `block`: its only stream, or the one named `x` or `y`."""
    hidden, mlp = sizes.hidden, sizes.mlp
    end, qkv, shaping = ("", "attn_qkv", "adaLN_modulation")
    if name is not None:
        end, qkv, shaping = f"_{name}", f"qkv_{name}", f"adaLN_modulation_{name}.1"
    modulated = modulation(weights, f"{block}.{shaping}", 6, sizes, constant)
    return {
        **placed("modulation", modulated),
        "attention_norm.weight": weights.take(f"{block}.norm1{end}.weight", hidden),
        "qkv_proj.weight": weights.take(f"{block}.{qkv}.weight", 3 * hidden, hidden),
        "o_proj.weight": weights.take(f"{block}.attn_out{end}.weight", hidden, hidden),
        "mlp_norm.weight": weights.take(f"{block}.norm2{end}.weight", hidden),
        "up_proj.weight": weights.take(f"{block}.mlp{end}.0.weight", mlp, hidden),
        "up_proj.bias": weights.take(f"{block}.mlp{end}.0.bias", mlp),
        "down_proj.weight": weights.take(f"{block}.mlp{end}.2.weight", hidden, mlp),
        "down_proj.bias": weights.take(f"{block}.mlp{end}.2.bias", hidden),
    }


def output_head(weights: SourceWeights, source: str, size: int, sizes: DitSizes, constant: Tensor | None) -> Weights:
    """Returns an `OutputHead`'s weights, from states to `size` numbers."""
    modulated = modulation(weights, f"{source}.adaLN_modulation", 2, sizes, constant)
    return {
        **placed("modulation", modulated),
        "norm.weight": weights.take(f"{source}.norm_final.weight", sizes.hidden),
        "proj.weight": weights.take(f"{source}.linear.weight", size, sizes.hidden),
        "proj.bias": weights.take(f"{source}.linear.bias", size),
    }


def placed(at: str, weights: Weights) -> Weights:
    """Returns the same weights with names in the module `at`."""
    return {f"{at}.{name}": weight for name, weight in weights.items()}


def untimed_mdlm(
    weights: SourceWeights, prefix: str, vocab_size: int, num_layers: int, num_heads: int, sizes: DitSizes
) -> Weights:
    """Returns the whole network of an MDLM conditioned on time 0 throughout, as weights of `LaddForDiffusionLM`."""
    constant = F.silu(embedding_of_zero(time_embedding(weights, f"{prefix}sigma_map", sizes.cond)))
    check_rotary(weights, f"{prefix}rotary_emb.inv_freq", sizes.hidden // num_heads)
    converted = {
        "model.embed_tokens.weight": weights.take(f"{prefix}vocab_embed.embedding", vocab_size, sizes.hidden),
        **placed("token_head", output_head(weights, f"{prefix}output_layer", vocab_size, sizes, constant)),
    }
    for layer in range(num_layers):
        block = stream(weights, f"{prefix}blocks.{layer}", sizes, constant)
        converted |= placed(f"model.blocks.{layer}.streams.token", block)
    return converted
