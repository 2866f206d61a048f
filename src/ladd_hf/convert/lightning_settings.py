"""Settings of ours that a checkpoint of the authors' research code tells: by its hyper-parameters, its networks and the
shapes of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..models.configuration_ladd import NUMBER_RANGES, LaddConfig
from ..models.encoders.encoder_options import ENCODERS
from .dit_weights import SourceWeights, check_rotary

# How the research code calls what no weight's shape tells.
_UNTOLD = {
    "num_attention_heads": "attention heads",
    "latent_length": "number of latents, `y_num_patches`",
    "max_position_embeddings": "tokens per text, `sequence_length`",
}


def check_options(options: dict[str, Any]) -> None:
    """Raises `ValueError` for options that are no settings, and for numbers that a setting cannot be."""
    unknown = sorted(options.keys() - {field.name for field in fields(LaddConfig)})
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no such option; give settings of `LaddConfig`.")
    for name, value in options.items():  # here, for beside the weights a wrong number looks like a contradiction
        if name in NUMBER_RANGES and value is not None:
            NUMBER_RANGES[name].check(name, value)


def contradicts(given: Any, inferred: Any) -> bool:
    """True if a setting, or a given option of a choice, differs from what the weights show."""
    if isinstance(given, Mapping) and isinstance(inferred, Mapping):
        return any(name in inferred and inferred[name] != value for name, value in given.items())
    named = inferred["name"] if isinstance(inferred, Mapping) else inferred
    return bool(given != named)


def told_settings(hyper_parameters: Any) -> dict[str, Any]:
    """Settings that plain hyper-parameters tell, by our names."""
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


@dataclass
class Networks:
    """Prefixes of a checkpoint's networks, those it has."""

    joint: str | None
    latent_denoiser: str | None
    encoder: str | None
    mdlm: str | None
    counts_iterations: bool  # as the loss of a Gumbel-softmax encoder does, for its temperature


def find_networks(source: SourceWeights) -> Networks:
    """Finds each network by a weight that it alone has. Raises `ValueError` where there is no denoiser, or several."""

    def prefix(mark: str, also: str) -> str | None:
        found = [name.removesuffix(mark) for name in source.names if f".{name}".endswith(f".{mark}")]
        found = [one for one in found if f"{one}{also}" in source.names]
        if len(found) > 1:
            raise ValueError(f"{source.origin} has several networks of a kind: {', '.join(found)}; give one of one.")
        return found[0] if found else None

    networks = Networks(
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
    """Of the saved rotary frequencies, or as given."""
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
    """These settings. Raises `ValueError` for those that neither the checkpoint nor an option tells."""
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


def mdlm_settings(source: SourceWeights, networks: Networks, settings: dict[str, Any]) -> dict[str, Any]:
    """Of the baseline. Raises `ValueError` for one that was told the time."""
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
    return {
        "latent_type": "none",
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "cond_hidden_size": cond,
        "mlp_ratio": ratio,
        **_needed(settings, "max_position_embeddings"),
    }


def is_discrete(source: SourceWeights) -> bool:
    """True if the latents are codes."""
    return any(name.startswith("vector_quantizer.") for name in source.names)


def ladd_defaults(source: SourceWeights) -> dict[str, Any]:
    """Returns the settings of the research code's latents, for what a checkpoint does not say."""
    discrete = is_discrete(source)
    return {
        "token_time_conditioning": False,
        "latent_time_conditioning": not discrete,
        "latent_normalization": "none" if discrete else "unit",
    }


def ladd_settings(source: SourceWeights, networks: Networks, settings: dict[str, Any]) -> dict[str, Any]:
    """Of joint denoiser, latent denoiser, encoder and quantiser."""
    prefix = networks.joint or ""
    discrete = is_discrete(source)
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
    elif of_all_latents in source.names:  # unused, but it tells how many latents there are
        lengths["latent_length"] = source.shape(of_all_latents, 2)[1] // latent_dim
    ratio = _mlp_ratio(source, f"{prefix}blocks.0.mlp_x.0.weight", hidden)
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
        "cond_hidden_size": source.shape(f"{prefix}t_embedder.mlp.0.weight", 2)[0],
        "mlp_ratio": ratio,
        "latent_dim": latent_dim,
        "latent_positions": "learned" if slots in source.names else "concatenated",
        "latent_denoiser": denoiser,
        **_needed(settings | lengths, "latent_length", "max_position_embeddings"),
    }
    if discrete:
        inferred |= {
            "quantizer": "vector",
            "codebook_size": source.shape(f"{prefix}final_layer_y.linear.bias", 1)[0] - 1,
        }
    if networks.latent_denoiser is not None:
        _check_latent_denoiser(source, networks.latent_denoiser, inferred)
    if networks.encoder is not None:
        inferred["encoder"] = _encoder_settings(source, networks.encoder, settings)
    return inferred


def _check_latent_denoiser(source: SourceWeights, prefix: str, inferred: dict[str, Any]) -> None:
    heads = _num_heads(source, prefix, inferred["hidden_size"], inferred, "num_attention_heads")
    if heads != inferred["num_attention_heads"]:
        raise ValueError(
            f"{source.origin} has a latent denoiser of {heads} attention heads, unlike its joint denoiser."
        )


def _encoder_settings(source: SourceWeights, prefix: str, settings: dict[str, Any]) -> dict[str, Any]:
    hidden = source.shape(f"{prefix}w.embedding", 2)[1]
    _, given = ENCODERS.parsed(settings.get("encoder", "trained"))
    heads = _num_heads(source, prefix, hidden, {**settings, **given}, "num_attention_heads")
    layers = source.num_blocks(prefix)
    sized = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "readout": "last"}
    return {"name": "trained", **given, **sized}
