"""Renamed settings of older configurations, converted to their present names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.utils import logging

from ..utils.registry import Registry
from .encoders.encoder_options import ENCODERS
from .latent_options import LATENT_DENOISERS, LATENT_HEADS
from .quantizers.quantizer_options import QUANTIZERS

logger = logging.get_logger(__name__)

_OF_ENCODER = {"encoder_hidden_size": "hidden_size", "encoder_variance": "variance", "encoder_std": "std"}
# For each choice, the options by their old names.
_OPTIONS: dict[str, dict[str, dict[str, str]]] = {
    "quantizer": {
        "vector": {
            "codebook_decay": "decay",
            "codebook_kmeans_init": "kmeans_init",
            "codebook_dead_code_threshold": "dead_code_threshold",
            "commitment_weight": "commitment_weight",
        },
        "finite_scalar": {"fsq_levels": "levels"},
        "gumbel": {"gumbel_temperature": "temperature"},
    },
    "encoder": {
        "trained": {
            **_OF_ENCODER,
            "encoder_num_hidden_layers": "num_hidden_layers",
            "encoder_num_attention_heads": "num_attention_heads",
            "encoder_readout": "readout",
        },
        "pretrained": {
            **_OF_ENCODER,
            "encoder_name_or_path": "name_or_path",
            "encoder_revision": "revision",
            "encoder_pooling": "pooling",
            "encoder_projection": "projection",
            "encoder_tokenizer": "tokenizer",
            "encoder_mask_token_id": "mask_token_id",
            "encoder_trained": "trained",
            "encoder_config": "config",
            "latent_standardization": "standardization",
        },
    },
    "latent_head": {
        "linear": {},
        "mlp": {"latent_head_layers": "layers", "latent_head_hidden_size": "hidden_size"},
    },
    "latent_denoiser": {
        "shared": {},
        "separate": {"separate_latent_denoiser": "", "latent_denoiser_num_layers": "num_layers"},
    },
}
_CHOICES: dict[str, Registry[Any]] = {
    "quantizer": QUANTIZERS,
    "encoder": ENCODERS,
    "latent_head": LATENT_HEADS,
    "latent_denoiser": LATENT_DENOISERS,
}
# The present setting of which each old name is an option.
RENAMED = {old: setting for setting, choices in _OPTIONS.items() for options in choices.values() for old in options}


def with_current_names(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Converts renamed settings of a saved configuration to their present names, with a log message.

    Values without effect, such as those of a quantiser that was not chosen, are dropped.
    """
    old = {name: value for name, value in saved.items() if name in RENAMED}
    current = {name: value for name, value in saved.items() if name not in RENAMED}
    if current.get("format_version") == 1:
        del current["format_version"]
    if not old:
        return current
    kind = saved.get("latent_type", "none")
    chosen = {
        "quantizer": saved.get("quantizer", "vector") if kind == "discrete" else None,
        "encoder": "pretrained" if old.get("encoder_name_or_path") else "trained",
        "latent_head": "mlp" if old.get("latent_head_layers") else "linear",
        "latent_denoiser": "separate" if old.get("separate_latent_denoiser") else "shared",
    }
    for setting, choice in chosen.items() if kind != "none" else ():
        if choice is not None:
            names = _OPTIONS[setting].get(choice, {})
            options = {names[one]: value for one, value in old.items() if names.get(one) and value is not None}
            current[setting] = _CHOICES[setting].build({"name": choice, **options}).spec(choice)
    logger.warning(
        f"The configuration was saved before some settings were renamed: {', '.join(sorted(old))} became options of "
        f"{', '.join(sorted({f'`{RENAMED[name]}`' for name in old}))}. Save it again to write it as it is now."
    )
    return current


def refuse_old_name(name: str) -> None:
    """Raises `ValueError` for an old name of a setting."""
    if name not in RENAMED:
        return
    setting = RENAMED[name]
    ways = [
        f'{{"name": "{choice}"{f", {names[name]!r}: ..." if names[name] else ""}}}'.replace("'", '"')
        for choice, names in _OPTIONS[setting].items()
        if name in names
    ]
    raise ValueError(f"There is no setting `{name}` any more: give `{setting}={' or '.join(ways)}`.")
