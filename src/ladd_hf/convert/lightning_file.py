"""Reads a Lightning `.ckpt` file of the authors' research code: its weights, of the last step or averaged."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..utils.torch_files import OtherObjectsError, check_weights, read_torch_file
from .dit_weights import Weights

_BUFFERS = ("rotary_emb.inv_freq",)


def read_checkpoint(path: str | os.PathLike) -> dict[str, Any]:
    """Returns the file's content, if that is tensors and plain values."""
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


def stored_weights(content: dict[str, Any], path: str | os.PathLike, weights: str) -> Weights:
    """The weights by name, averaged ones where asked for; names without what compiling adds."""
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
