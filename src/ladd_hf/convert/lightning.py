"""Converts checkpoints of the LADD authors' research code (Lightning `.ckpt` files) to models of this library.

What such a file holds, by the names its weights have:

* the joint denoiser: `w.embedding`, `blocks.N` of two streams (`qkv_x`, `qkv_y`, `attn_out_x`, `norm1_x`, `norm2_x`,
  `mlp_x.{0,2}`, `adaLN_modulation_x.1`, and the same of `y`), `y_patch_embedder.{0,2}`, `y_slot_embeddings` where
  latents have no rotary positions, `t_embedder.mlp.{0,2}`, `t_y_embedder.mlp.{0,2}`, and `final_layer_x`,
  `final_layer_y` with `norm_final.weight`, `linear.{weight,bias}`, `adaLN_modulation.{weight,bias}`;
* of sequential Co-LADD the latent denoiser: `blocks.N` of one stream (named as MDLM's), `y_patch_embedder` of one
  linear map, `t_y_embedder`, `final_layer_y`;
* the encoder: `w.embedding`, `time_embedder`, `blocks.N` of one stream, `final_layer`;
* of Di-LADD `vector_quantizer.z_mask` and `vector_quantizer.vqvae._codebook`;
* or, of the MDLM baseline, what `dit_weights.untimed_mdlm` reads.

Each network may have any prefix. `*_ema_state_dict` (or `ema`) hold averaged weights as a list of `shadow_params` in
the order of the parameters. Left out, with a warning, is what no prediction depends on: `y_cond_embedder`, counters of
the loss, and, where a latent denoiser is at hand, what only the joint denoiser's own prediction of latents reads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.utils import logging

from ..models.configuration_ladd import NUMBER_RANGES, LaddConfig
from ..models.encoders.encoder_options import ENCODERS
from ..models.modeling_ladd import LaddForDiffusionLM
from ..utils.torch_files import OtherObjectsError, check_weights, read_torch_file
from .dit_weights import (
    DitSizes,
    SourceWeights,
    Weights,
    check_rotary,
    embedding_of_zero,
    output_head,
    placed,
    stream,
    time_embedding,
    untimed_mdlm,
)

logger = logging.get_logger(__name__)

_BUFFERS = ("rotary_emb.inv_freq",)
# The research code's names of settings that no weight's shape determines.
_UNTOLD = {
    "num_attention_heads": "attention heads",
    "latent_length": "number of latents, `y_num_patches`",
    "max_position_embeddings": "tokens per text, `sequence_length`",
}


def convert_lightning(
    checkpoint: str | os.PathLike,
    *,
    weights: Literal["averaged", "last"] = "averaged",
    without_encoder: bool = False,
    **options: Any,
) -> LaddForDiffusionLM:
    """Loads a checkpoint of the authors' research code: the same predictions, to the precision of float32.

    Args:
        checkpoint: a Lightning `.ckpt` file. It is read without running any code of it.
        weights: `averaged` takes the EMA weights of networks that have them; `last` those of the last step.
        without_encoder: leave out the file's encoder, such as a pretrained one; the model then has a new, untrained
            encoder, as for a file without one.
        options: settings of [`LaddConfig`] that the file does not contain: usually `latent_length` and
            `max_position_embeddings`; `token_time_conditioning` and `latent_time_conditioning` (not for tokens and
            codes, but for continuous latents, by default); noise schedules; `mask_token_id`, if it is not the last.
            `latent_normalization` defaults to `unit` for continuous latents.

    Raises `ValueError` for a file that holds more than tensors and plain values, for weights that are unknown, missing
    or mis-shaped (naming all of them), and for settings that are missing or contradict the weights.
    """
    _check_options(options)
    content = _read(checkpoint)
    state = _state(content, checkpoint, weights)
    origin = f"The checkpoint {checkpoint}"
    source = SourceWeights(state, origin)
    networks = _networks(source)
    told = _told(content.get("hyper_parameters"))
    settings = told | options
    left_out = source.leave(name for name in source.names if name.startswith("loss_fn."))
    if without_encoder and networks.encoder is not None:
        left_out += source.leave(name for name in source.names if name.startswith(networks.encoder))
        networks.encoder = None
    if networks.joint is None:
        converted, inferred = _mdlm(source, networks, settings)
    else:
        converted, inferred, unread = _ladd(source, networks, settings)
        left_out += unread
    source.close()
    against = [name for name, value in inferred.items() if name in options and _contradicts(options[name], value)]
    if against:
        raise ValueError(
            f"{origin} has weights of {', '.join(f'`{name}` {inferred[name]}' for name in against)}, which contradicts "
            "the options given: leave them out."
        )
    model = LaddForDiffusionLM(LaddConfig(**settings | inferred)).eval()
    _load(model, converted, networks.encoder is not None)
    if left_out:
        logger.warning(f"Left out, for no prediction depends on them: {', '.join(left_out)}.")
    return model


def _contradicts(given: Any, inferred: Any) -> bool:
    """True if a setting differs from what the weights imply; for a choice with options, if one of those given does."""
    if isinstance(given, Mapping) and isinstance(inferred, Mapping):
        return any(name in inferred and inferred[name] != value for name, value in given.items())
    named = inferred["name"] if isinstance(inferred, Mapping) else inferred
    return bool(given != named)


def _check_options(options: dict[str, Any]) -> None:
    unknown = sorted(options.keys() - {field.name for field in fields(LaddConfig)})
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such option; give settings of `LaddConfig`.")
    for name, value in options.items():  # here, since later a wrong number looks like a contradiction
        if name in NUMBER_RANGES and value is not None:
            NUMBER_RANGES[name].check(name, value)


# --- the file ---


def _read(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the contents of the file, which must be tensors and plain values."""
    try:
        content = read_torch_file(path)
    except OtherObjectsError as error:
        raise ValueError(
            f"{path} holds objects of other libraries beside its tensors ({', '.join(error.names)}), as "
            "hyper-parameters of OmegaConf are, which can run code when they are read: where you trust it and have "
            "those libraries, load it with `c = torch.load(path, weights_only=False)`, keep its weights with "
            "`torch.save({k: v for k, v in c.items() if k == 'state_dict' or 'ema' in k}, 'weights.ckpt')`, and give "
            "that file."
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), Mapping):
        raise ValueError(f"{path} is no Lightning checkpoint, which has a `state_dict`: give one of the research code.")
    return content


def _state(content: dict[str, Any], path: str | os.PathLike, weights: str) -> Weights:
    """Returns the weights by name, averaged ones if requested, without the prefixes that compiling adds."""
    if weights not in ("averaged", "last"):
        raise ValueError(f"`weights` is {weights!r}; give 'averaged' or 'last'.")
    check_weights(content["state_dict"], str(path))
    state = {name.replace("_orig_mod.", ""): weight for name, weight in content["state_dict"].items()}
    if weights == "last":
        return state
    averages = {key: value for key, value in content.items() if key == "ema" or key.endswith("ema_state_dict")}
    if not averages:
        raise ValueError(f"{path} holds no averaged weights (`ema`): give `weights='last'` for those of the last step.")
    for key, value in averages.items():
        prefix = key.removesuffix("ema_state_dict").removesuffix("_") if key != "ema" else ""
        names = [name for name in state if name.startswith(f"{prefix}." if prefix else "") and _is_parameter(name)]
        shadow = value.get("shadow_params") if isinstance(value, Mapping) else value
        if not isinstance(shadow, list | tuple):
            raise ValueError(
                f"{path} holds no list of averaged weights as {key!r}: give `weights='last'` for the last step's."
            )
        check_weights(dict(zip(map(str, range(len(shadow))), shadow, strict=True)), f"The average {key!r} in {path}")
        if [weight.shape for weight in shadow] != [state[name].shape for name in names]:
            raise ValueError(
                f"{path} holds {len(shadow)} averaged weights as {key!r} that are not of the shapes of the "
                f"{len(names)} parameters they should average: give `weights='last'` for those of the last step."
            )
        state |= zip(names, shadow, strict=True)
    return state


def _is_parameter(name: str) -> bool:
    return not name.endswith(_BUFFERS) and not name.startswith(("loss_fn.", "vector_quantizer."))


def _told(hyper_parameters: Any) -> dict[str, Any]:
    """Returns the settings found in plain hyper-parameters, by this library's names."""
    told: dict[str, Any] = {}
    if not isinstance(hyper_parameters, Mapping):
        return told

    def of_network(name: str) -> Mapping[str, Any]:
        value: Any = hyper_parameters.get(name)
        for key in ("params", "config", "params"):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value if isinstance(value, Mapping) else {}

    joint = of_network("joint_denoiser_config") or of_network("model_config")
    encoder = of_network("encoder_config")
    names = {"num_attention_heads": "num_attention_heads", "mask_token_id": "mask_token_id"}
    if hyper_parameters.get("joint_denoiser_config"):
        names["y_num_patches"] = "latent_length"
    told |= {ours: joint[theirs] for theirs, ours in names.items() if joint.get(theirs) is not None}
    conditioning = (
        ("time_type", "token_time_conditioning"),  # the baseline's name of it
        ("x_time_type", "token_time_conditioning"),
        ("y_time_type", "latent_time_conditioning"),
    )
    for theirs, ours in conditioning:
        kind = joint.get(theirs)
        if kind == "noise":
            raise ValueError(
                f"The checkpoint's network was told alpha(t), not the time t (`{theirs}` 'noise'), which a network of "
                "ours is not: only 'time' and 'none' are converted."
            )
        if kind is not None and (theirs != "y_time_type" or hyper_parameters.get("joint_denoiser_config")):
            told[ours] = kind == "time"
    if hyper_parameters.get("sequence_length") is not None:
        told["max_position_embeddings"] = hyper_parameters["sequence_length"]
    if encoder.get("normalize_embeddings") is not None:
        told["latent_normalization"] = "unit" if encoder["normalize_embeddings"] else "none"
    return told


# --- its networks ---


@dataclass
class _Networks:
    """Prefixes of a checkpoint's networks; `None` for those it does not have."""

    joint: str | None
    latent_denoiser: str | None
    encoder: str | None
    mdlm: str | None
    counts_iterations: bool  # as the loss of a Gumbel-softmax encoder does, for its temperature


def _networks(source: SourceWeights) -> _Networks:
    """Finds each network by a weight that only it has. Raises `ValueError` without a denoiser, or with several."""

    def prefix(mark: str, also: str) -> str | None:
        found = [name.removesuffix(mark) for name in source.names if f".{name}".endswith(f".{mark}")]
        found = [one for one in found if f"{one}{also}" in source.names]
        if len(found) > 1:
            raise ValueError(f"{source.origin} has several networks of a kind: {', '.join(found)}; give one of one.")
        return found[0] if found else None

    networks = _Networks(
        joint=prefix("blocks.0.qkv_x.weight", "w.embedding"),
        latent_denoiser=prefix("y_patch_embedder.weight", "blocks.0.attn_qkv.weight"),
        encoder=prefix("w.embedding", "blocks.0.attn_qkv.weight"),
        mdlm=prefix("vocab_embed.embedding", "blocks.0.attn_qkv.weight"),
        counts_iterations="loss_fn.total_iter" in source.names,
    )
    if (networks.joint is None) == (networks.mdlm is None):
        raise ValueError(
            f"{source.origin} holds neither a joint denoiser (`w.embedding`, `blocks.0.qkv_x`) nor an MDLM "
            f"(`vocab_embed.embedding`, `blocks.0.attn_qkv`), or both; its weights begin with "
            f"{', '.join(sorted({name.split('.')[0] for name in source.names}))}."
        )
    return networks


def _num_heads(source: SourceWeights, prefix: str, hidden: int, settings: dict[str, Any], name: str) -> int:
    """Returns the number of heads, from the saved rotary frequencies or as given."""
    frequencies = f"{prefix}rotary_emb.inv_freq"
    saved = frequencies in source.names
    if saved:
        heads = hidden // (2 * source.shape(frequencies, 1)[0])
    else:
        heads = settings.get(name) or _needed(settings, "num_attention_heads")["num_attention_heads"]
    if not isinstance(heads, int) or heads < 1 or hidden % (2 * heads):
        raise ValueError(
            f"{source.origin} has {heads!r} attention heads for a hidden size of {hidden}, which is no multiple of "
            "twice as many: give the `num_attention_heads` that it was trained with."
        )
    if saved:
        check_rotary(source, frequencies, hidden // heads)
    return heads


def _needed(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    """Returns these settings. Raises `ValueError` for those that neither the checkpoint nor an option gives."""
    absent = [name for name in names if not settings.get(name)]
    if absent:
        meant = ", ".join(f"`{name}` ({_UNTOLD[name]})" for name in absent)
        raise ValueError(f"The checkpoint does not tell {meant}: give what it was trained with.")
    return {name: settings[name] for name in names}


def _mlp_ratio(source: SourceWeights, name: str, hidden: int) -> int:
    width = source.shape(name, 2)[0]
    if width % hidden:
        raise ValueError(f"{source.origin} has MLPs of width {width}, no multiple of its hidden size {hidden}.")
    return width // hidden


def _mdlm(source: SourceWeights, networks: _Networks, settings: dict[str, Any]) -> tuple[Weights, dict[str, Any]]:
    """Converts the MDLM baseline."""
    if settings.get("token_time_conditioning") is None:
        raise ValueError(
            f"{source.origin} does not tell whether its MDLM was told the time, and the research code's default is "
            "that it was: give `token_time_conditioning=False` if its `time_type` was 'none'."
        )
    if settings["token_time_conditioning"]:
        raise ValueError("An MDLM that was told the time is not converted: only those with `time_type` 'none'.")
    prefix = networks.mdlm or ""
    vocab_size, hidden = source.shape(f"{prefix}vocab_embed.embedding", 2)
    cond = source.shape(f"{prefix}sigma_map.mlp.0.weight", 2)[0]
    ratio = _mlp_ratio(source, f"{prefix}blocks.0.mlp.0.weight", hidden)
    layers = source.num_blocks(prefix)
    heads = _num_heads(source, prefix, hidden, settings, "num_attention_heads")
    converted = untimed_mdlm(source, prefix, vocab_size, layers, heads, DitSizes(hidden, cond, ratio * hidden))
    inferred = {
        "latent_type": "none",
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "cond_hidden_size": cond,
        "mlp_ratio": ratio,
        **_needed(settings, "max_position_embeddings"),
    }
    return converted, inferred


def _ladd(
    source: SourceWeights, networks: _Networks, settings: dict[str, Any]
) -> tuple[Weights, dict[str, Any], list[str]]:
    """Converts joint denoiser, latent denoiser, encoder and quantiser: weights, settings, and names left out."""
    prefix = networks.joint or ""
    discrete = any(name.startswith("vector_quantizer.") for name in source.names)
    gumbel = settings.get("latent_type") == "discrete" or networks.counts_iterations
    if not discrete and gumbel:
        raise ValueError(
            f"{source.origin} has no `vector_quantizer`: codes of a Gumbel-softmax encoder are not converted."
        )
    vocab_size, hidden = source.shape(f"{prefix}w.embedding", 2)
    slots = f"{prefix}y_slot_embeddings"
    latent_dim = source.shape(f"{prefix}y_patch_embedder.0.weight", 2)[1]
    of_all_latents = f"{prefix}y_cond_embedder.0.weight"
    lengths = {}
    if slots in source.names:
        lengths["latent_length"] = source.shape(slots, 2)[0]
    elif of_all_latents in source.names:  # unused, but its shape has the number of latents
        lengths["latent_length"] = source.shape(of_all_latents, 2)[1] // latent_dim
    ratio = _mlp_ratio(source, f"{prefix}blocks.0.mlp_x.0.weight", hidden)
    sizes = DitSizes(hidden, source.shape(f"{prefix}t_embedder.mlp.0.weight", 2)[0], ratio * hidden)
    denoiser: Any = "shared"
    if networks.latent_denoiser is not None:
        denoiser = {"name": "separate", "num_layers": source.num_blocks(networks.latent_denoiser)}
    inferred = {
        "reference_layout": True,
        "latent_type": "discrete" if discrete else "continuous",
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "num_hidden_layers": source.num_blocks(prefix),
        "num_attention_heads": _num_heads(source, prefix, hidden, settings, "num_attention_heads"),
        "cond_hidden_size": sizes.cond,
        "mlp_ratio": ratio,
        "latent_dim": latent_dim,
        "latent_positions": "learned" if slots in source.names else "concatenated",
        "latent_denoiser": denoiser,
        **_needed(settings | lengths, "latent_length", "max_position_embeddings"),
    }
    settings.setdefault("token_time_conditioning", False)
    settings.setdefault("latent_time_conditioning", not discrete)
    settings.setdefault("latent_normalization", "none" if discrete else "unit")
    if discrete:
        inferred |= {
            "quantizer": "vector",
            "codebook_size": source.shape(f"{prefix}final_layer_y.linear.bias", 1)[0] - 1,
        }
    left_out = source.leave(name for name in source.names if name.startswith(f"{prefix}y_cond_embedder."))
    converted, unread = _joint_denoiser(source, prefix, sizes, settings, inferred)
    if networks.latent_denoiser is not None:
        converted |= placed("latent_denoiser", _latent_denoiser(source, networks.latent_denoiser, sizes, inferred))
    if networks.encoder is not None:
        converted |= placed("encoder", _encoder(source, networks.encoder, settings, inferred))
    if discrete:
        converted |= _quantizer(source, inferred)
    return converted, inferred, left_out + unread


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
    """Returns the embeddings of the times the network is conditioned on, and the sum of the others' at time 0."""
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
    """Selects from a stream's weights those that its queries, keys and values need."""
    shift_and_scale = {name: weight[: 2 * hidden] for name, weight in latent.items() if name.startswith("modulation.")}
    return {name: latent[name] for name in ("attention_norm.weight", "qkv_proj.weight")} | shift_and_scale


def _latent_denoiser(source: SourceWeights, prefix: str, sizes: DitSizes, inferred: dict[str, Any]) -> Weights:
    heads = _num_heads(source, prefix, sizes.hidden, inferred, "num_attention_heads")
    if heads != inferred["num_attention_heads"]:
        raise ValueError(
            f"{source.origin} has a latent denoiser of {heads} attention heads, unlike its joint denoiser."
        )
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


def _encoder(source: SourceWeights, prefix: str, settings: dict[str, Any], inferred: dict[str, Any]) -> Weights:
    """Converts the DiT encoder, conditioned on time 0 throughout; its last modulation is merged into norm and
    readout."""
    vocab_size, latent_dim = inferred["vocab_size"], inferred["latent_dim"]
    hidden = source.shape(f"{prefix}w.embedding", 2)[1]
    sizes = DitSizes(hidden, source.shape(f"{prefix}time_embedder.mlp.0.weight", 2)[0], inferred["mlp_ratio"] * hidden)
    _, given = ENCODERS.parsed(settings.get("encoder", "trained"))
    heads = _num_heads(source, prefix, hidden, {**settings, **given}, "num_attention_heads")
    layers = source.num_blocks(prefix)
    sized = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "readout": "last"}
    inferred["encoder"] = {"name": "trained", **given, **sized}
    constant = F.silu(embedding_of_zero(time_embedding(source, f"{prefix}time_embedder", sizes.cond)))
    head = output_head(source, f"{prefix}final_layer", latent_dim, sizes, constant)
    shift, scale = head["modulation.bias"].chunk(2)
    converted = {
        "embed_tokens.weight": source.take(f"{prefix}w.embedding", vocab_size, hidden),
        "norm.weight": head["norm.weight"] * (1 + scale),
        "readout.weight": head["proj.weight"],
        "readout.bias": head["proj.bias"] + head["proj.weight"] @ shift,
    }
    for layer in range(layers):
        block = stream(source, f"{prefix}blocks.{layer}", sizes, constant)
        converted |= placed(f"blocks.{layer}.streams.token", block)
    return converted


def _quantizer(source: SourceWeights, inferred: dict[str, Any]) -> Weights:
    """Converts codebook and mask vector. Raises `ValueError` for a codebook of Euclidean distances."""
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


def _load(model: LaddForDiffusionLM, converted: Weights, has_encoder: bool) -> None:
    missing, unexpected = model.load_state_dict(converted, strict=False)
    new = [name for name in missing if name.startswith("encoder.")] if not has_encoder else []
    wrong = [*sorted(set(missing) - set(new) - {"quantizer.quantize.zero"}), *unexpected]
    if wrong:
        raise ValueError(
            f"The settings describe another model than the checkpoint's; they differ in {', '.join(wrong)}."
        )
    if new:
        logger.warning("The checkpoint's encoder is not taken: the model has a new one, which is untrained.")
