"""Checkpoints of the LADD authors' research code (darioShar/LADD, Lightning `.ckpt`) as models of this package.

Their joint denoiser is this model with `reference_conditioning` and latents at `concatenated` positions, or at learned
slots. What their network is always told (the time zero, on tokens, and on codes) becomes constant vectors of ours. The
encoder (their DiT, if the file has it) and the quantiser come along; their layers are named as they name them: linear
maps of a `Sequential` by their place in it, final layers by `norm_final`, `linear` and `adaLN_modulation`.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .configuration_ladd import LaddConfig
from .modeling_ladd import LaddForDiffusionLM
from .warm_start import SourceTime, copy_weights

# Parts of their checkpoints that have weights which their networks do not use, or that are no networks.
_UNUSED = re.compile(
    r"(joint_denoiser|encoder)\.rotary_emb\.|joint_denoiser\.y_cond_embedder\.|"
    r"(train|val|eval|test)_|.*metric|loss_fn\."
)
_OF_A_STREAM = {
    "norm1_{}.weight": "attention_norm.weight",
    "qkv_{}.weight": "qkv_proj.weight",
    "attn_out_{}.weight": "o_proj.weight",
    "norm2_{}.weight": "mlp_norm.weight",
    "mlp_{}.0.weight": "up_proj.weight",
    "mlp_{}.0.bias": "up_proj.bias",
    "mlp_{}.2.weight": "down_proj.weight",
    "mlp_{}.2.bias": "down_proj.bias",
}
_OF_AN_ENCODER_BLOCK = {
    theirs.format("").replace("_.", ".").replace("qkv.", "attn_qkv."): ours for theirs, ours in _OF_A_STREAM.items()
}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a Lightning checkpoint, read with `weights_only=True`: no code in it is run.

    Raises `ValueError` for a file that holds other objects than tensors and plain values, and for one without weights.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds objects besides weights (such as a Hydra configuration among its hyper-parameters), which "
            "are not read, since reading them can run code: where you trust it, load it with torch in the environment "
            "it was made in, and save its 'state_dict' (and EMA) alone."
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise ValueError(f"{path} has no 'state_dict': give a checkpoint that Lightning has written.")
    return content


def averaged_weights(content: Mapping[str, Any], weights: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """The weights of a part with their exponential moving average, in the order in which it lists them.

    Raises `ValueError` for a file without an average of the part.
    """
    shadows = next(iter(_shadow_parameters(content, part)), None)
    names = [name for name in weights if name.startswith(f"{part}.") and not name.endswith("inv_freq")]
    if shadows is None:
        raise ValueError(f"The checkpoint has no EMA weights of `{part}`: convert its plain ones with `ema=False`.")
    if [shadow.shape for shadow in shadows] != [weights[name].shape for name in names]:
        raise ValueError(
            f"The EMA weights of `{part}` are not those of its layers: convert the plain ones, `ema=False`."
        )
    return {**weights, **dict(zip(names, shadows, strict=True))}


def _shadow_parameters(content: Any, part: str) -> Iterator[Sequence[Tensor]]:
    """Every list of averaged weights that a file keeps for a part, wherever."""
    if not isinstance(content, Mapping):
        return
    for name, value in content.items():
        if name == part and isinstance(value, Mapping) and "shadow_params" in value:
            yield value["shadow_params"]
        elif name != "state_dict":
            yield from _shadow_parameters(value, part)


def convert_lightning_checkpoint(
    path: str | Path,
    num_attention_heads: int,
    max_position_embeddings: int,
    latent_length: int,
    ema: bool = True,
    skip: Sequence[str] = (),
    **options: Any,
) -> LaddForDiffusionLM:
    """A model with the weights of a checkpoint of the authors' code. Sizes are read off the weights where they tell.

    Args:
        path: of the `.ckpt`.
        num_attention_heads, max_position_embeddings, latent_length: which the weights do not tell.
        ema: take the averaged weights, which are what the authors evaluate.
        skip: prefixes of weights that are left out, such as `latent_denoiser.`.
        options: more settings of [`LaddConfig`], such as the noise schedules or `latent_normalization="unit"` for
            encoders that normalise. Codes and vectors are told apart by whether there is a quantiser.

    Raises `ValueError` naming weights that are unknown, missing, or of another shape; nothing is dropped silently.
    """
    content = read_checkpoint(path)
    weights: dict[str, Tensor] = dict(content["state_dict"])
    parts = [part for part in ("joint_denoiser", "encoder") if any(name.startswith(f"{part}.") for name in weights)]
    if "joint_denoiser" not in parts:
        raise ValueError(f"{path} has no `joint_denoiser`: it is no checkpoint of the authors' LatentDDM.")
    if ema:
        for part in parts:
            weights = averaged_weights(content, weights, part)
    left_out = tuple(skip)
    weights = {n: t.float() for n, t in weights.items() if not _UNUSED.match(n) and not n.startswith(left_out)}
    config = LaddConfig(
        **{
            **_sizes(weights),
            "num_attention_heads": num_attention_heads,
            "max_position_embeddings": max_position_embeddings,
            "latent_length": latent_length,
            **options,
        }
    )
    model = LaddForDiffusionLM(config)
    converted = {**_denoiser(weights, config), **_encoder(weights), **_quantizer(weights)}
    expected = {name for name in model.state_dict() if "encoder" in parts or not name.startswith("encoder.")}
    copy_weights(model, converted, expected, str(path))
    return model.eval()


def _sizes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Settings that the shapes of the weights tell. Raises `ValueError` for a network that this package has not."""
    if any(name.startswith("joint_denoiser.y_head.") for name in weights):
        raise ValueError("The checkpoint has the authors' wide head (`y_head`), which this package does not have.")
    if "joint_denoiser.y_patch_embedder.embedding" in weights:
        raise ValueError("The checkpoint embeds codes by a table (`soft_inputs` off); only vectors of codes are read.")
    vocab_size, hidden_size = weights["joint_denoiser.w.embedding"].shape
    sizes: dict[str, Any] = {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "cond_hidden_size": len(weights["joint_denoiser.t_embedder.mlp.2.bias"]),
        "num_hidden_layers": _number_of(weights, "joint_denoiser.blocks."),
        "latent_dim": weights["joint_denoiser.y_patch_embedder.0.weight"].shape[1],
        "latent_positions": "learned" if "joint_denoiser.y_slot_embeddings" in weights else "concatenated",
        "reference_conditioning": True,
    }
    codebook = weights.get("vector_quantizer.vqvae._codebook.embed")
    if codebook is None:
        return {**sizes, "latent_type": "continuous", **_encoder_sizes(weights)}
    kind = {"latent_type": "discrete", "quantizer": "vector", "codebook_size": codebook.shape[-2]}
    return {**sizes, **kind, **_encoder_sizes(weights)}


def _encoder_sizes(weights: Mapping[str, Tensor]) -> dict[str, int]:
    table = weights.get("encoder.w.embedding")
    if table is None:
        return {}
    return {
        "encoder_hidden_size": table.shape[1],
        "encoder_num_hidden_layers": _number_of(weights, "encoder.blocks."),
    }


def _number_of(weights: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in weights if name.startswith(prefix))


def _denoiser(weights: Mapping[str, Tensor], config: LaddConfig) -> dict[str, Tensor]:
    """The joint denoiser's weights by our names; unknown ones keep theirs."""
    source = {n.removeprefix("joint_denoiser."): t for n, t in weights.items() if n.startswith("joint_denoiser.")}
    time = SourceTime(source, "t_embedder.mlp."), SourceTime(source, "t_y_embedder.mlp.")
    of_tokens = time[0].at_zero()  # the denoiser is never told the tokens' time
    conditioned = bool(config.latent_time_conditioning)
    constant = torch.nn.functional.silu(of_tokens + time[1].at_zero())
    renamed = {
        "w.embedding": "model.embed_tokens.weight",
        "y_slot_embeddings": "model.latent_input.slots",
        "y_patch_embedder.0.weight": "model.latent_input.up_proj.weight",
        "y_patch_embedder.0.bias": "model.latent_input.up_proj.bias",
        "y_patch_embedder.2.weight": "model.latent_input.down_proj.weight",
        "y_patch_embedder.2.bias": "model.latent_input.down_proj.bias",
    }
    for stream, name in (("x", "token"), ("y", "latent")):
        for number in range(config.num_hidden_layers):
            ours = f"model.blocks.{number}.streams.{name}."
            renamed |= {f"blocks.{number}.{a.format(stream)}": ours + b for a, b in _OF_A_STREAM.items()}
    for stream, ours in (("x", "token_head."), ("y", "latent_head.output.")):
        for a, b in (
            ("norm_final.weight", "norm.weight"),
            ("linear.weight", "proj.weight"),
            ("linear.bias", "proj.bias"),
        ):
            renamed[f"final_layer_{stream}.{a}"] = ours + b
    modulations = {
        f"final_layer_{s}.adaLN_modulation.": o for s, o in (("x", "token_head."), ("y", "latent_head.output."))
    }
    for number in range(config.num_hidden_layers):
        for stream, name in (("x", "token"), ("y", "latent")):
            modulations[f"blocks.{number}.adaLN_modulation_{stream}.1."] = f"model.blocks.{number}.streams.{name}."

    result = {}
    for name, tensor in source.items():
        prefix = name.removesuffix("weight").removesuffix("bias")
        if prefix in modulations:
            ours = f"{modulations[prefix]}modulation."
            if conditioned:
                result[ours + name.removeprefix(prefix)] = tensor
            else:
                c = torch.nn.functional.silu(constant) if prefix.startswith("blocks.") else constant
                result[f"{ours}bias"] = source[f"{prefix}weight"] @ c + source[f"{prefix}bias"]
        elif not name.startswith(("t_embedder.", "t_y_embedder.")):
            result[renamed.get(name, name)] = tensor
    if conditioned:
        (first, first_bias), (second, second_bias) = time[1].layers
        embedding = "model.latent_time_embedding."
        result |= {f"{embedding}up_proj.weight": first, f"{embedding}up_proj.bias": first_bias}
        result |= {f"{embedding}down_proj.weight": second, f"{embedding}down_proj.bias": second_bias + of_tokens}
    head = result.get("latent_head.output.proj.weight")
    if config.latent_type == "discrete" and head is not None and len(head) == config.codebook_size + 1:
        for part in ("weight", "bias"):  # they have a logit for the mask code as well, and never use it
            result[f"latent_head.output.proj.{part}"] = result[f"latent_head.output.proj.{part}"][:-1]
    return result


def _encoder(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's weights by our names; it is told the time zero, always."""
    source = {n.removeprefix("encoder."): t for n, t in weights.items() if n.startswith("encoder.")}
    if not source:
        return {}
    time = SourceTime(source, "time_embedder.mlp.")
    shift, scale = time.constant(source, "final_layer.adaLN_modulation.").chunk(2)
    projection = source["final_layer.linear.weight"]
    result = {
        "encoder.embed_tokens.weight": source["w.embedding"],
        "encoder.norm.weight": source["final_layer.norm_final.weight"] * (1 + scale),
        "encoder.readout.weight": projection,
        "encoder.readout.bias": source["final_layer.linear.bias"] + projection @ shift,
    }
    for name, tensor in source.items():
        kind, _, rest = name.partition(".")
        number, _, of_block = rest.partition(".")
        ours = f"encoder.blocks.{number}.streams.token."
        if kind == "blocks" and of_block in _OF_AN_ENCODER_BLOCK:
            result[ours + _OF_AN_ENCODER_BLOCK[of_block]] = tensor
        elif kind == "blocks" and of_block == "adaLN_modulation.bias":
            result[f"{ours}modulation.bias"] = time.constant(source, name.removesuffix("bias"))
        elif kind not in ("final_layer", "time_embedder", "w") and of_block != "adaLN_modulation.weight":
            result[f"encoder.{name}"] = tensor
    return result


def _quantizer(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The codebook and its statistics, and the vector of the mask code."""
    result = {}
    for name, tensor in weights.items():
        if name == "vector_quantizer.z_mask":
            result["model.mask_vector"] = tensor
        elif name.startswith("vector_quantizer.vqvae."):
            result["quantizer.quantize." + name.removeprefix("vector_quantizer.vqvae.")] = tensor
        elif not name.startswith(("joint_denoiser.", "encoder.")):
            result[name] = tensor
    return result
