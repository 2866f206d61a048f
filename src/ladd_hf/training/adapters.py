"""Training of adapters: checks, and resuming from a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import set_peft_model_state_dict
from safetensors.torch import load_file

from ..models.adapters import adapter_layers, adapter_parameters, has_adapters
from ..models.loading import misfit
from .checkpoints import reading

ADAPTER_FILE = "adapter_model.safetensors"


def check_trainable(model: Any) -> None:
    """Raises `ValueError` for adapters without trainable weights, or with several active ones."""
    if not has_adapters(model):
        return
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(
            "No weight of the model with adapters is trainable: load the adapter with `is_trainable=True`, or "
            "`set_adapter` the one to train."
        )
    active = {name for layer in adapter_layers(model) for name in layer.active_adapters}
    if len(active) > 1:
        raise ValueError(
            f"The adapters {sorted(active)} are active at once, and a checkpoint holds one: `set_adapter` the one to "
            "train."
        )


def load_adapter_weights(model: Any, folder: str | Path) -> bool:
    """Loads the weights saved in `folder` into the active adapter of a model with `add_adapter`, to resume training.

    Returns true if it did, false for any other model. Raises `ValueError` for a folder without such an adapter.
    """
    if not getattr(model, "_hf_peft_config_loaded", False):
        return False
    path = Path(folder) / ADAPTER_FILE
    if not path.is_file():
        raise ValueError(f"The checkpoint {folder} has no {ADAPTER_FILE}: it is not of a model with an adapter.")
    (adapter,) = model.active_adapters()
    with reading(folder, ADAPTER_FILE):
        weights = {name.removeprefix("base_model.model."): value for name, value in load_file(path).items()}
        result: Any = set_peft_model_state_dict(model, weights, adapter)
    own = {id(parameter) for parameter in adapter_parameters(model, [adapter])}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in own}
    if wrong := misfit(names & set(result.missing_keys), result.unexpected_keys):
        raise ValueError(
            f"The checkpoint {folder} is of another adapter than {adapter!r}, it {wrong}: add the adapter with the "
            "configuration that it was trained with."
        )
    return True
