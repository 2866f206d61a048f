"""LADD models initialised with the token stream of a masked diffusion language model (MDLM) without latents."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.hub import cached_file

from ..models.configuration_ladd import LaddConfig
from ..models.loading import clear_errors
from ..models.modeling_ladd import LaddForDiffusionLM
from ..utils.torch_files import OtherObjectsError, check_weights, read_torch_file
from .dit_weights import DitSizes, SourceWeights, untimed_mdlm

_HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download", "proxies", "subfolder")
# Settings that are fixed by the token stream's weights.
_OF_WEIGHTS = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "mlp_ratio", "layer_norm_eps"),
    *("rope_parameters", "tie_word_embeddings", "token_time_conditioning"),
)
# Settings of the source that may be overridden.
_CARRIED = (
    *("mask_token_id", "pad_token_id", "bos_token_id", "eos_token_id", "cond_hidden_size", "max_position_embeddings"),
    *("attention_dropout", "initializer_range", "token_noise_schedule", "reference_layout"),
)


def from_mdlm(source: str | os.PathLike | PreTrainedModel, **options: Any) -> LaddForDiffusionLM:
    """Returns a model with the token stream of an MDLM, and new latents that are to be trained.

    Called without `latents`, it predicts what the source predicts, except that the logits of the mask token and the
    padding token are minus infinity. Parts that the source lacks are initialised as in a new model. As with
    `from_pretrained`, the model is in evaluation mode.

    Args:
        source: a Hub repository or a folder in the layout of `kuleshov-group/mdlm-owt` (config.json of type `mdlm`,
            with `time_conditioning` false), or a model of this library with `latent_type="none"`, or its folder.
        options: settings of [`LaddConfig`], such as `latent_type`, `latent_length` and `latent_dim`; those of the token
            stream are the source's. Without any, the model has no latents. `mask_token_id` defaults to the last id of
            the vocabulary, as in mdlm-owt. Also `revision`, `token`, `cache_dir`, `local_files_only`, `force_download`,
            `proxies`, `subfolder`, `dtype` (by default the source's) and `attn_implementation` of `from_pretrained`;
            `use_safetensors=False` reads a pickled pytorch_model.bin, which must hold only tensors.

    Raises `ValueError` for options that contradict the source, and naming every weight of an MDLM that is missing,
    mis-shaped or unknown; `OSError` for a source that does not exist.
    """
    hub = {name: options.pop(name) for name in _HUB_OPTIONS if name in options}
    attention = {name: options.pop(name) for name in ("attn_implementation",) if name in options}
    dtype, use_safetensors = options.pop("dtype", None), options.pop("use_safetensors", None)
    unknown = sorted(options.keys() - {field.name for field in fields(LaddConfig)})
    if unknown:
        raise ValueError(
            f"{', '.join(unknown)}: no such option of a warm start; give settings of `LaddConfig`, and of "
            f"`from_pretrained` dtype, attn_implementation, use_safetensors, {', '.join(_HUB_OPTIONS)}."
        )
    settings, weights, source_dtype = _read(source, use_safetensors, hub)
    config = LaddConfig(**_merged(source, settings, options))
    # New weights are initialised in float32, independent of the dtype that they are stored in.
    model = LaddForDiffusionLM._from_config(config, dtype=torch.float32, **attention)
    others = model.load_state_dict(weights, strict=False).unexpected_keys
    if others:
        raise ValueError(f"The source has weights that no token stream has: {', '.join(others)}.")
    dtype = getattr(torch, dtype) if isinstance(dtype, str) and dtype != "auto" else dtype
    model.config.dtype = source_dtype if dtype in (None, "auto") else dtype
    return model.to(model.config.dtype).eval()


def _read(
    source: str | os.PathLike | PreTrainedModel, use_safetensors: bool | None, hub: dict
) -> tuple[dict[str, Any], dict[str, Tensor], torch.dtype]:
    """Returns settings, weights and dtype of a source of either kind."""
    if isinstance(source, PreTrainedModel):
        return _of_ours(source)
    described, _ = PreTrainedConfig.get_config_dict(source, **hub)
    kind = described.get("model_type")
    if kind == "mdlm":
        return _of_mdlm(source, described, use_safetensors, hub)
    if kind == LaddConfig.model_type:
        return _of_ours(LaddForDiffusionLM.from_pretrained(source, use_safetensors=use_safetensors, **hub))
    raise ValueError(
        f"{source} is a model of type {kind!r}; give one of type 'mdlm', in the layout of kuleshov-group/mdlm-owt, or "
        f"one of type {LaddConfig.model_type!r} without latents."
    )


def _merged(source: str | os.PathLike | PreTrainedModel, settings: dict, options: dict) -> dict[str, Any]:
    """Returns the source's settings with the caller's. Raises `ValueError` if these contradict the source's weights."""
    timed = ("cond_hidden_size", "reference_layout") if settings["token_time_conditioning"] else ()
    against = [name for name in (*_OF_WEIGHTS, *timed) if name in options and options[name] != settings[name]]
    if against:
        held = ", ".join(f"`{name}` {settings[name]}" for name in against)
        kind = type(source).__name__ if isinstance(source, PreTrainedModel) else source
        raise ValueError(f"The token stream's weights are those of {kind}, which has {held}: leave that option out.")
    return {**settings, **options}


def _of_ours(source: PreTrainedModel) -> tuple[dict[str, Any], dict[str, Tensor], torch.dtype]:
    config = source.config
    kind = getattr(config, "latent_type", None)
    if kind != "none":
        raise ValueError(
            f"The source has `latent_type` {kind!r}; a warm start takes a model without latents ('none'), and "
            "`from_pretrained` loads one that has them."
        )
    return {name: getattr(config, name) for name in (*_OF_WEIGHTS, *_CARRIED)}, source.state_dict(), source.dtype


def _of_mdlm(
    source: str | os.PathLike, described: dict[str, Any], use_safetensors: bool | None, hub: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor], torch.dtype]:
    """Reads a published MDLM, whose dropout between layers has no counterpart here.

    With `time_conditioning` false the network is conditioned on noise level 0 throughout.
    """
    names = ("vocab_size", "model_length", "hidden_dim", "cond_dim", "n_blocks", "n_heads")
    absent = [name for name in names if name not in described]
    if absent:
        raise ValueError(f"The config.json of {source} lacks {', '.join(absent)}, which that of an MDLM has.")
    if described.get("time_conditioning", False):
        raise ValueError(
            f"{source} has `time_conditioning` true: it is told the noise level -log(1 - t), which a network that is "
            "told the time t cannot reproduce exactly; give a source with `time_conditioning` false."
        )
    numberless = [name for name in names if not isinstance(described[name], int) or described[name] < 1]
    if numberless:
        raise ValueError(f"The config.json of {source} has {', '.join(numberless)} that are no numbers of at least 1.")
    vocab_size, length, hidden, cond, num_layers, num_heads = (described[name] for name in names)
    saved = _saved_weights(source, use_safetensors, hub)
    weights = SourceWeights(saved, f"The checkpoint {source}")
    if (blocks := weights.num_blocks("backbone.")) != num_layers or hidden % (2 * num_heads):
        raise ValueError(
            f"The config.json of {source} has `n_blocks` {num_layers}, `n_heads` {num_heads} and `hidden_dim` "
            f"{hidden}; its weights have {blocks} blocks, and a hidden size is a multiple of twice its heads."
        )
    sizes = DitSizes(hidden, cond, LaddConfig.mlp_ratio * hidden)
    converted = untimed_mdlm(weights, "backbone.", vocab_size, num_layers, num_heads, sizes)
    weights.close()
    settings: dict[str, Any] = {
        **{name: getattr(LaddConfig, name) for name in _OF_WEIGHTS},
        "rope_parameters": LaddConfig().rope_parameters,
        "vocab_size": vocab_size,
        "hidden_size": hidden,
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_heads,
        "cond_hidden_size": cond,
        "max_position_embeddings": length,
        **{name: described[name] for name in ("pad_token_id", "mask_token_id") if name in described},
    }
    return settings, converted, saved["backbone.vocab_embed.embedding"].dtype


def _saved_weights(source: str | os.PathLike, use_safetensors: bool | None, hub: dict[str, Any]) -> dict[str, Tensor]:
    """Reads the tensors of model.safetensors, or, only if requested, of a pickled pytorch_model.bin."""
    pickled = use_safetensors is False
    name = "pytorch_model.bin" if pickled else "model.safetensors"
    path = cached_file(source, name, _raise_exceptions_for_missing_entries=False, **hub)
    if path is None:
        instead = (
            "leave `use_safetensors` out to read model.safetensors"
            if pickled
            else "give `use_safetensors=False` to read a pickled pytorch_model.bin, which holds nothing but tensors"
        )
        raise OSError(f"{source} has no file {name}: {instead}.")
    if pickled:
        try:
            weights = read_torch_file(path)
        except OtherObjectsError as error:
            raise ValueError(
                f"{path} holds more than tensors, which could run code when it is read: give a source with "
                "model.safetensors."
            ) from error
        if not isinstance(weights, dict):
            raise ValueError(f"{path} holds no weights by name, but a {type(weights).__name__}.")
    else:
        with clear_errors(path, {}):
            weights = load_file(path)
    check_weights(weights, str(path))
    return weights
