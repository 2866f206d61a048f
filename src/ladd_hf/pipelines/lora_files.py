"""LoRA weights in diffusers' own layout: one file, or a dict, of a pipeline's layers by component."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from diffusers.loaders.lora_base import (
    LORA_WEIGHT_NAME,
    LORA_WEIGHT_NAME_SAFE,
    LoraBaseMixin,
    _fetch_state_dict,
)
from diffusers.utils import get_peft_kwargs
from peft import LoraConfig
from torch import Tensor, nn

from ..utils.local_paths import refuse_file

COMPONENT = "model"
_DOWNLOAD_OPTIONS = ("cache_dir", "force_download", "proxies", "local_files_only", "token", "revision", "subfolder")


def refuse_unknown_options(options: Mapping[str, Any]) -> None:
    """Raises `ValueError` for an option of loading that there is not, such as one that is misspelt."""
    accepted = (*_DOWNLOAD_OPTIONS, "low_cpu_mem_usage")
    if unknown := [name for name in options if name not in accepted]:
        raise ValueError(f"`{unknown[0]}` is no option of loading an adapter; those are {', '.join(accepted)}.")


def is_diffusers_layout(source: Any, weight_name: str | None = None, subfolder: str | None = None) -> bool:
    """True for a dict, a file, a folder with diffusers' file, and anything with the file's name given."""
    if isinstance(source, Mapping) or weight_name is not None:
        return True
    path = Path(source, subfolder or "")
    files = (LORA_WEIGHT_NAME_SAFE, LORA_WEIGHT_NAME)
    return path.is_file() or (
        not (path / "adapter_config.json").exists() and any((path / name).is_file() for name in files)
    )


def read_layers(
    state_dict: Mapping[str, Tensor], metadata: Mapping[str, Any] | None
) -> tuple[LoraConfig, dict[str, Tensor]]:
    """Returns the configuration and the weights of an adapter out of those of a pipeline.

    Raises `ValueError` for weights that are not LoRA's, or not of the pipeline's model.
    """
    prefix = f"{COMPONENT}."
    foreign = [key for key in state_dict if not key.startswith(prefix) or not _is_lora(key)]
    if foreign or not state_dict:
        what = f"has {foreign[0]!r}" if foreign else "is empty"
        raise ValueError(
            f"The LoRA checkpoint {what}; give weights that `save_lora_weights` has written, whose names are "
            f"{prefix + 'LAYER.lora_A.weight'!r} and the like."
        )
    layers = {key.removeprefix(prefix): value for key, value in state_dict.items()}
    if metadata:
        known = {key.removeprefix(prefix): value for key, value in metadata.items() if key.startswith(prefix)}
        return LoraConfig(**known), layers
    ranks = {key: value.shape[1] for key, value in layers.items() if "lora_B" in key and value.ndim > 1}
    if not ranks:
        raise ValueError("The LoRA checkpoint has no 'lora_B' weights: give one that `save_lora_weights` has written.")
    return LoraConfig(**get_peft_kwargs(ranks, network_alpha_dict=None, peft_state_dict=layers)), layers


def _is_lora(key: str) -> bool:
    return ".lora_A." in key or ".lora_B." in key or ".lora_embedding_" in key


class LoraFiles(LoraBaseMixin):
    """Part of a pipeline: LoRA weights in the files that diffusers' pipelines write."""

    @classmethod
    def lora_state_dict(
        cls,
        pretrained_model_name_or_path_or_dict: str | os.PathLike | Mapping[str, Tensor],
        weight_name: str | None = None,
        use_safetensors: bool = True,
        return_lora_metadata: bool = False,
        **options: Any,
    ) -> Any:
        """Reads the weights of a file in diffusers' layout: `{"model.LAYER.lora_A.weight": tensor, ...}`.

        Args:
            pretrained_model_name_or_path_or_dict: a file, a folder, a repository, or the weights themselves.
            weight_name: the file's name.
            use_safetensors: False reads a pickle, which is refused otherwise.
            return_lora_metadata: return the adapter's configuration as well, `None` if the file has none.
            options: `revision`, `token`, `cache_dir`, `subfolder`, `local_files_only` and `force_download`.
        """
        refuse_unknown_options(options)
        source = pretrained_model_name_or_path_or_dict
        weights, metadata = _fetch_state_dict(
            dict(source) if isinstance(source, Mapping) else os.fspath(source),
            weight_name=weight_name,
            use_safetensors=use_safetensors,
            user_agent={"file_type": "lora", "framework": "pytorch"},
            allow_pickle=False,
            **{name: options.get(name) for name in _DOWNLOAD_OPTIONS},
        )
        return (weights, metadata) if return_lora_metadata else weights

    @classmethod
    def save_lora_weights(
        cls,
        save_directory: str | os.PathLike,
        model_lora_layers: Mapping[str, nn.Module | Tensor] | None = None,
        model_lora_adapter_metadata: dict[str, Any] | None = None,
        is_main_process: bool = True,
        weight_name: str | None = None,
        save_function: Callable[..., Any] | None = None,
        safe_serialization: bool = True,
    ) -> None:
        """Writes LoRA weights to one file, `pytorch_lora_weights.safetensors`, as diffusers' pipelines do.

        `save_adapter` writes a loaded adapter of any kind, with its card, as peft does.

        Args:
            save_directory: its folder.
            model_lora_layers: weights of the adapter, `get_peft_model_state_dict(pipe.model)`.
            model_lora_adapter_metadata: its configuration, `pipe.model.peft_config[name].to_dict()`; without it scales
                and targets are guessed from the weights when they are loaded.
            is_main_process: False writes nothing.
            weight_name: another name for the file.
            save_function: called as `save_function(weights, path)` instead of safetensors' or torch's.
            safe_serialization: False writes a pickle, which is then read only with `use_safetensors=False`.

        Raises `ValueError` without layers, for weights that are not LoRA's, which the file cannot hold, and if
        `save_directory` is a file.
        """
        refuse_file(save_directory)
        if not model_lora_layers:
            raise ValueError(
                "`model_lora_layers` is missing: give `get_peft_model_state_dict(pipe.model)`, or save a loaded "
                "adapter by `pipe.save_adapter(save_directory)`."
            )
        layers = model_lora_layers.state_dict() if isinstance(model_lora_layers, nn.Module) else model_lora_layers
        if foreign := [key for key in layers if not _is_lora(key)]:
            raise ValueError(
                f"`model_lora_layers` has {foreign[0]!r}, which is not LoRA's, and which diffusers' file cannot hold: "
                "save the adapter by `pipe.save_adapter(save_directory)`."
            )
        if is_main_process:
            cls._save_lora_weights(
                save_directory=save_directory,
                lora_layers={COMPONENT: model_lora_layers},
                lora_metadata={COMPONENT: model_lora_adapter_metadata},
                is_main_process=is_main_process,
                weight_name=weight_name,
                save_function=save_function,
                safe_serialization=safe_serialization,
            )
