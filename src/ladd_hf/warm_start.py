"""A token stream that starts from a masked diffusion language model: a published MDLM, or one of ours without latents.

MDLM is this model's token stream (paper, section 5). Where it is not told the time, the network that would embed it is
fed zeros, and its modulation is one vector for every input: that vector becomes the bias of ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download")
_OF_A_BLOCK = {
    "norm1.weight": "attention_norm.weight",
    "attn_qkv.weight": "qkv_proj.weight",
    "attn_out.weight": "o_proj.weight",
    "norm2.weight": "mlp_norm.weight",
    "mlp.0.weight": "up_proj.weight",
    "mlp.0.bias": "up_proj.bias",
    "mlp.2.weight": "down_proj.weight",
    "mlp.2.bias": "down_proj.bias",
}
_OF_THE_HEAD = {
    "norm_final.weight": "norm.weight",
    "linear.weight": "proj.weight",
    "linear.bias": "proj.bias",
}


def fetch(source: str | Path, use_safetensors: bool | None, hub_options: Mapping[str, Any]) -> Path:
    """The folder of a model: as it is, or its files from the Hub. Pickles only with `use_safetensors=False`."""
    if Path(source).is_dir():
        return Path(source)
    patterns = ["config.json", "*.bin" if use_safetensors is False else "*.safetensors", "*.index.json"]
    return Path(snapshot_download(str(source), allow_patterns=patterns, **hub_options))


def read_weights(folder: Path, use_safetensors: bool | None) -> dict[str, Tensor]:
    """All weights in a folder, by name. Raises `OSError` where there are none, or pickles that were not asked for."""
    if use_safetensors is False:
        files = sorted(folder.glob("pytorch_model*.bin"))
        parts = [torch.load(file, map_location="cpu", weights_only=True) for file in files]
    else:
        files = sorted(folder.glob("*.safetensors"))
        parts = [load_file(file) for file in files]
    if not files:
        instead = "" if use_safetensors is False else "; for a pickle that you trust give `use_safetensors=False`"
        raise OSError(f"{folder} holds no weights: give the folder or the repository of a saved model{instead}.")
    return {name: tensor for part in parts for name, tensor in part.items()}


def read_settings(folder: Path) -> dict[str, Any]:
    """The content of a model's `config.json`. Raises `OSError` where there is none."""
    path = folder / "config.json"
    if not path.is_file():
        raise OSError(f"{folder} has no config.json: give the folder or the repository of a saved model.")
    return json.loads(path.read_text(encoding="utf-8"))


def mdlm_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Our settings for the configuration of a published MDLM. Raises `ValueError` for one that is told the time."""
    if settings.get("time_conditioning"):
        raise ValueError(
            "The MDLM was trained with `time_conditioning`: it is told the logarithm of its noise, for which this "
            "model has no input; start from one trained without."
        )
    return {
        "vocab_size": settings["vocab_size"],
        "hidden_size": settings["hidden_dim"],
        "num_hidden_layers": settings["n_blocks"],
        "num_attention_heads": settings["n_heads"],
        "cond_hidden_size": settings["cond_dim"],
        "max_position_embeddings": settings["model_length"],
    }


def mdlm_weights(source: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a published MDLM by the names of our token stream; ones that are unknown keep their names."""
    weights = {name.removeprefix("backbone."): tensor for name, tensor in source.items()}
    time = SourceTime(weights, "sigma_map.mlp.")
    renamed = {}
    for name, tensor in weights.items():
        kind, _, rest = name.partition(".")
        if kind == "blocks":
            number, _, of_block = rest.partition(".")
            prefix = f"model.blocks.{number}.streams.token."
            if of_block in _OF_A_BLOCK:
                renamed[prefix + _OF_A_BLOCK[of_block]] = tensor
                continue
            if of_block == "adaLN_modulation.bias":
                renamed[prefix + "modulation.bias"] = time.constant(weights, name.removesuffix("bias"))
                continue
        if kind == "output_layer":
            if rest in _OF_THE_HEAD:
                renamed[f"token_head.{_OF_THE_HEAD[rest]}"] = tensor
                continue
            if rest == "adaLN_modulation.bias":
                renamed["token_head.modulation.bias"] = time.constant(weights, name.removesuffix("bias"))
                continue
        if name == "vocab_embed.embedding":
            renamed["model.embed_tokens.weight"] = tensor
        elif not name.endswith("adaLN_modulation.weight") and kind not in ("sigma_map", "rotary_emb"):
            renamed[name] = tensor
    return renamed


class SourceTime:
    """A network that embeds the time of a source: 256 sinusoids and a two-layer MLP, fed with zero where unused."""

    def __init__(self, weights: Mapping[str, Tensor], prefix: str) -> None:
        self.layers = [(weights[f"{prefix}{i}.weight"].float(), weights[f"{prefix}{i}.bias"].float()) for i in (0, 2)]

    def at_zero(self) -> Tensor:
        """Its output at time 0, `(cond_hidden_size,)`: the cosines are one, the sines zero."""
        (first, first_bias), (second, second_bias) = self.layers
        half = first.shape[1] // 2
        sinusoids = torch.cat([torch.ones(half), torch.zeros(half)])
        return F.linear(F.silu(F.linear(sinusoids, first, first_bias)), second, second_bias)

    def constant(self, weights: Mapping[str, Tensor], prefix: str) -> Tensor:
        """The modulation `prefix` of a network that is always told zero: the vector that it is for every input."""
        return F.linear(F.silu(self.at_zero()), weights[f"{prefix}weight"].float(), weights[f"{prefix}bias"].float())


@torch.no_grad()
def copy_weights(model: nn.Module, weights: Mapping[str, Tensor], expected: set[str], source: str) -> None:
    """Copies weights into a model by name; `expected` are those that a source must have.

    Raises `ValueError` naming weights that are missing, unknown, or of another shape, before anything is changed.
    """
    own = model.state_dict()
    missing = sorted(expected - set(weights))
    unknown = sorted(name for name in weights if name not in own)
    other = sorted(name for name in weights if name in own and own[name].shape != weights[name].shape)
    found = {"missing": missing, "unknown": unknown, "of another shape": other}
    wrong = [f"{what}: {', '.join(names[:8])}" for what, names in found.items() if names]
    if wrong:
        raise ValueError(f"The weights of {source} do not fit ({'; '.join(wrong)}): is it a checkpoint of this kind?")
    for name, tensor in weights.items():
        own[name].copy_(tensor)
