"""Weights of the authors' research code, by the names that ours have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .dit_weights import (
    DitSizes,
    SourceWeights,
    Weights,
    embedding_of_zero,
    output_head,
    placed,
    stream,
    time_embedding,
    untimed_mdlm,
)
from .lightning_settings import Networks


def _sizes(inferred: dict[str, Any]) -> DitSizes:
    hidden = inferred["hidden_size"]
    return DitSizes(hidden, inferred["cond_hidden_size"], inferred["mlp_ratio"] * hidden)


def mdlm_weights(source: SourceWeights, networks: Networks, inferred: dict[str, Any]) -> Weights:
    """Of the baseline."""
    vocab_size, layers = inferred["vocab_size"], inferred["num_hidden_layers"]
    heads = inferred["num_attention_heads"]
    return untimed_mdlm(source, networks.mdlm or "", vocab_size, layers, heads, _sizes(inferred))


def ladd_weights(
    source: SourceWeights, networks: Networks, settings: dict[str, Any], inferred: dict[str, Any]
) -> tuple[Weights, list[str]]:
    """Of joint denoiser, latent denoiser, encoder and quantiser, and the names of those that are left out."""
    prefix, sizes = networks.joint or "", _sizes(inferred)
    left_out = source.leave(name for name in source.names if name.startswith(f"{prefix}y_cond_embedder."))
    converted, unread = _joint_denoiser(source, prefix, sizes, settings, inferred)
    if networks.latent_denoiser is not None:
        converted |= placed("latent_denoiser", _latent_denoiser(source, networks.latent_denoiser, sizes, inferred))
    if networks.encoder is not None:
        converted |= placed("encoder", _encoder(source, networks.encoder, inferred))
    if inferred["latent_type"] == "discrete":
        converted |= _quantizer(source, inferred)
    return converted, left_out + unread


def _joint_denoiser(
    source: SourceWeights, prefix: str, sizes: DitSizes, settings: dict[str, Any], inferred: dict[str, Any]
) -> tuple[Weights, list[str]]:
    hidden, latent_dim = sizes.hidden, inferred["latent_dim"]
    converted = {
        "model.embed_tokens.weight": source.take(f"{prefix}w.embedding", inferred["vocab_size"], hidden),
        "model.latent_input.up_proj.weight": source.take(f"{prefix}y_patch_embedder.0.weight", 4 * hidden, latent_dim),
        "model.latent_input.up_proj.bias": source.take(f"{prefix}y_patch_embedder.0.bias", 4 * hidden),
        "model.latent_input.down_proj.weight": source.take(f"{prefix}y_patch_embedder.2.weight", hidden, 4 * hidden),
        "model.latent_input.down_proj.bias": source.take(f"{prefix}y_patch_embedder.2.bias", hidden),
    }
    if inferred["latent_positions"] == "learned":
        slots = source.take(f"{prefix}y_slot_embeddings", inferred["latent_length"], hidden)
        converted["model.latent_input.slots"] = slots
    timed, constant = _conditioning(source, prefix, sizes, settings)
    converted |= timed
    # The SiLU of our modulation is done already; blocks of two streams have a second one.
    of_heads = None if timed else F.silu(constant)
    of_blocks = None if of_heads is None else F.silu(of_heads)
    separate, last = inferred["latent_denoiser"] != "shared", inferred["num_hidden_layers"] - 1
    unread: list[str] = []
    for layer in range(last + 1):
        block, ours = f"{prefix}blocks.{layer}", f"model.blocks.{layer}.streams"
        converted |= placed(f"{ours}.token", stream(source, block, sizes, of_blocks, "x"))
        latent = stream(source, block, sizes, of_blocks, "y")
        if separate and layer == last:
            unread += [f"{block}.{name}" for name in ("attn_out_y", "norm2_y", "mlp_y")]
            latent = _attended_to(latent, hidden)
        converted |= placed(f"{ours}.latent", latent)
    converted |= placed(
        "token_head", output_head(source, f"{prefix}final_layer_x", inferred["vocab_size"], sizes, of_heads)
    )
    count = inferred["codebook_size"] + 1 if "codebook_size" in inferred else latent_dim
    head = output_head(source, f"{prefix}final_layer_y", count, sizes, of_heads)
    if separate:
        return converted, [*unread, f"{prefix}final_layer_y"]
    if "codebook_size" in inferred:  # the last code is the mask code, which is never predicted
        head |= {name: head[name][:-1] for name in ("proj.weight", "proj.bias")}
    return converted | placed("latent_head.output", head), unread


def _conditioning(
    source: SourceWeights, prefix: str, sizes: DitSizes, settings: dict[str, Any]
) -> tuple[Weights, Tensor]:
    """Returns the embeddings of times that condition the network, and the constant sum of the others (at time 0)."""
    timed: dict[str, Weights] = {}
    constant = torch.zeros(sizes.cond, dtype=torch.float64)
    for name, theirs in (("token", "t_embedder"), ("latent", "t_y_embedder")):
        embedding = time_embedding(source, f"{prefix}{theirs}", sizes.cond)
        if settings[f"{name}_time_conditioning"]:
            timed[f"model.{name}_time_embedding"] = embedding
        else:
            constant = constant + embedding_of_zero(embedding)
    for embedding in list(timed.values())[:1]:
        embedding["down_proj.bias"] = (embedding["down_proj.bias"] + constant).float()
    return {key: weight for at, embedding in timed.items() for key, weight in placed(at, embedding).items()}, constant


def _attended_to(latent: Weights, hidden: int) -> Weights:
    """Of a stream's weights those that its queries, keys and values need."""
    shift_and_scale = {name: weight[: 2 * hidden] for name, weight in latent.items() if name.startswith("modulation.")}
    return {name: latent[name] for name in ("attention_norm.weight", "qkv_proj.weight")} | shift_and_scale


def _latent_denoiser(source: SourceWeights, prefix: str, sizes: DitSizes, inferred: dict[str, Any]) -> Weights:
    hidden, latent_dim = sizes.hidden, inferred["latent_dim"]
    linear = source.take(f"{prefix}y_patch_embedder.weight", hidden, latent_dim)
    bias = source.take(f"{prefix}y_patch_embedder.bias", hidden)
    eye, unused = torch.eye(hidden), torch.zeros(2 * hidden, latent_dim)
    converted = {
        # A linear map as an MLP: silu(h) - silu(-h) = h.
        "latent_input.up_proj.weight": torch.cat([linear, -linear, unused]),
        "latent_input.up_proj.bias": torch.cat([bias, -bias, unused[:, 0]]),
        "latent_input.down_proj.weight": torch.cat([eye, -eye, torch.zeros(hidden, 2 * hidden)], dim=1),
        "latent_input.down_proj.bias": torch.zeros(hidden),
        **placed("time_embedding", time_embedding(source, f"{prefix}t_y_embedder", sizes.cond)),
        **placed("head.output", output_head(source, f"{prefix}final_layer_y", latent_dim, sizes, None)),
    }
    for layer in range(inferred["latent_denoiser"]["num_layers"]):
        block = stream(source, f"{prefix}blocks.{layer}", sizes, None)
        converted |= placed(f"blocks.{layer}.streams.latent", block)
    return converted


def _encoder(source: SourceWeights, prefix: str, inferred: dict[str, Any]) -> Weights:
    """The DiT encoder, which was told time 0 throughout; its last modulation becomes part of norm and readout."""
    vocab_size, latent_dim = inferred["vocab_size"], inferred["latent_dim"]
    hidden = inferred["encoder"]["hidden_size"]
    sizes = DitSizes(hidden, source.shape(f"{prefix}time_embedder.mlp.0.weight", 2)[0], inferred["mlp_ratio"] * hidden)
    constant = F.silu(embedding_of_zero(time_embedding(source, f"{prefix}time_embedder", sizes.cond)))
    head = output_head(source, f"{prefix}final_layer", latent_dim, sizes, constant)
    shift, scale = head["modulation.bias"].chunk(2)
    converted = {
        "embed_tokens.weight": source.take(f"{prefix}w.embedding", vocab_size, hidden),
        "norm.weight": head["norm.weight"] * (1 + scale),
        "readout.weight": head["proj.weight"],
        "readout.bias": head["proj.bias"] + head["proj.weight"] @ shift,
    }
    for layer in range(inferred["encoder"]["num_hidden_layers"]):
        block = stream(source, f"{prefix}blocks.{layer}", sizes, constant)
        converted |= placed(f"blocks.{layer}.streams.token", block)
    return converted


def _quantizer(source: SourceWeights, inferred: dict[str, Any]) -> Weights:
    """Codebook and mask vector. Raises `ValueError` for a codebook of Euclidean distances."""
    codes, latent_dim = inferred["codebook_size"], inferred["latent_dim"]
    theirs, ours = "vector_quantizer.vqvae._codebook", "quantizer.quantize._codebook"
    vectors = (1, codes, latent_dim)
    shapes = {"initted": source.sizes(f"{theirs}.initted")[:1], "cluster_size": vectors[:2]}
    shapes |= {"embed": vectors, "embed_avg": vectors}
    codebook = {name: source.take(f"{theirs}.{name}", *shape) for name, shape in shapes.items()}
    codebook["initted"] = codebook["initted"].any()  # one number or a list of one, as the version has it
    lengths = codebook["embed"].norm(dim=-1)
    if codebook["initted"].any() and not torch.allclose(lengths, torch.ones_like(lengths), atol=1e-2):
        raise ValueError(
            f"{source.origin} has code vectors that are not of length 1, so of Euclidean distances; only codebooks of "
            "cosine similarity (`use_cosine_sim`) are converted."
        )
    mask = source.take("vector_quantizer.z_mask", latent_dim)
    return placed(ours, codebook) | {"model.mask_vector": mask}
