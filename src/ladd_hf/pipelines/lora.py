"""Adapters of a pipeline's model, as diffusers' `LoraBaseMixin` has them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ..models.adapters import adapter_layers, fuse_adapters
from .lora_files import COMPONENT, LoraFiles, is_diffusers_layout, read_layers, refuse_unknown_options
from .lora_fusing import LoraFusing
from .lora_model import (
    active_adapters,
    fused_adapters,
    loaded_adapters,
    model_with_adapters,
    refuse_components,
    refuse_fused,
    refuse_unknown,
    refuse_weight,
    weigh,
)
from .lora_offloading import offloading_renewed

# The weight of an adapter; that of its one component; or none, which is 1.
AdapterWeight = float | Mapping[str, float | None] | None

NO_HOTSWAP = (
    "Adapters of this pipeline are not swapped in place: remove the old one by `delete_adapters` and load the new one, "
    "or load both and choose by `set_adapters`."
)


class LoraPipelineMixin(LoraFusing, LoraFiles):
    """Loads, weights, fuses and saves adapters of `self.model`, of the kinds that transformers can load."""

    _lora_loadable_modules = [COMPONENT]

    model: Any

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | os.PathLike | Mapping[str, Tensor],
        adapter_name: str | None = None,
        hotswap: bool = False,
        weight_name: str | None = None,
        use_safetensors: bool = True,
        **options: Any,
    ) -> None:
        """Loads an adapter from a folder or repository and makes it the only active one.

        Args:
            pretrained_model_name_or_path_or_dict: an adapter saved by peft, a trainer or `save_adapter`; or what
                `save_lora_weights` has written, a file, its folder, or its weights.
            adapter_name: its name; `default_0`, `default_1` and so on by default.
            hotswap: True is refused, adapters are not swapped in place.
            weight_name: the file in diffusers' layout that a repository holds.
            use_safetensors: False reads pickles.
            options: `revision`, `token`, `cache_dir`, `subfolder`, `local_files_only`, `force_download` and
                `low_cpu_mem_usage`.

        Raises `ValueError` for a name in use, for an adapter of another model, and while adapters are fused.
        """
        source, model = pretrained_model_name_or_path_or_dict, model_with_adapters(self)
        if hotswap:
            raise ValueError(NO_HOTSWAP)
        refuse_fused(model, "load another one")
        taken = loaded_adapters(model)
        numbered = (f"default_{number}" for number in range(len(taken) + 1))
        adapter_name = adapter_name or next(name for name in numbered if name not in taken)
        refuse_unknown_options(options)
        how: dict[str, Any] = {"low_cpu_mem_usage": options.pop("low_cpu_mem_usage", False)}
        if is_diffusers_layout(source, weight_name, options.get("subfolder")):
            config, layers = read_layers(
                *self.lora_state_dict(
                    source, weight_name, use_safetensors=use_safetensors, return_lora_metadata=True, **options
                )
            )
            how |= {"peft_model_id": None, "peft_config": config, "adapter_state_dict": layers}
        else:
            how |= {"peft_model_id": os.fspath(source), "adapter_kwargs": options}  # type: ignore[arg-type]
            if not use_safetensors:
                how["use_safetensors"] = False
        with offloading_renewed(self, model):
            model.load_adapter(adapter_name=adapter_name, **how)
        model.enable_adapters()  # `disable_lora` would still affect layers with earlier adapters

    def save_adapter(self, save_directory: str | os.PathLike, adapter_name: str | None = None) -> None:
        """Saves one adapter as peft does, with its card; by default the active one, without its weight from
        `set_adapters`.

        Raises `ValueError` if no adapter is named and there is not exactly one active adapter.
        """
        model, active = model_with_adapters(self), self.get_active_adapters()
        if adapter_name is None and len(active) != 1:
            raise ValueError(f"The active adapters are {active}: give the `adapter_name` of the one to save.")
        if adapter_name is not None:
            refuse_unknown(model, [adapter_name])
            model.set_adapter(adapter_name)
        try:
            model.save_pretrained(save_directory)
        finally:
            model.set_adapter(active)

    def set_adapters(
        self,
        adapter_names: str | list[str],
        adapter_weights: AdapterWeight | Sequence[AdapterWeight] = None,
    ) -> None:
        """Activates only these adapters, each scaled by its weight: a number, or `{"model": number}`; 1 by default.

        Raises `ValueError` for names that are not loaded, if the numbers of weights and names differ, for a weight of
        an adapter that cannot be scaled, and while adapters are fused.
        """
        model = model_with_adapters(self)
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        refuse_unknown(model, names)
        refuse_fused(model, "activate others")
        listed = isinstance(adapter_weights, Sequence)
        given = list(adapter_weights) if listed else [adapter_weights] * len(names)  # type: ignore[arg-type]
        if len(given) != len(names):
            raise ValueError(f"There are {len(given)} `adapter_weights` for {len(names)} adapters: give one for each.")
        weights = [self._weight(one) for one in given]
        refuse_weight(model, [name for name, weight in zip(names, weights, strict=True) if weight != 1])
        model.set_adapter(names)
        weigh(model, dict(zip(names, weights, strict=True)))

    def _weight(self, given: Any) -> float:
        if isinstance(given, Mapping):
            refuse_components(given, self._lora_loadable_modules, "adapter_weights")
            given = given[COMPONENT]
        return 1.0 if given is None else float(given)

    def get_active_adapters(self) -> list[str]:
        """Returns the names of the active adapters, including those disabled by `disable_lora`."""
        return active_adapters(model_with_adapters(self))

    def get_list_adapters(self) -> dict[str, list[str]]:
        """Returns the names of all loaded adapters by component of the pipeline."""
        names = loaded_adapters(model_with_adapters(self))
        return {COMPONENT: names} if names else {}

    def disable_lora(self) -> None:
        """Disables all adapters. Raises `ValueError` while adapters are fused."""
        model = model_with_adapters(self)
        refuse_fused(model, "disable them")
        model.disable_adapters()

    def enable_lora(self) -> None:
        """Enables the active adapters again."""
        model_with_adapters(self).enable_adapters()

    def delete_adapters(self, adapter_names: str | list[str]) -> None:
        """Deletes adapters. Raises `ValueError` for names that are not loaded, and while adapters are fused."""
        model = model_with_adapters(self)
        refuse_unknown(model, [adapter_names] if isinstance(adapter_names, str) else adapter_names)
        refuse_fused(model, "delete adapters")
        with offloading_renewed(self, model):
            model.delete_adapter(adapter_names)

    def unload_lora_weights(self) -> None:
        """Removes all adapters: the model is as it was before the first was loaded, or, if adapters are fused, a plain
        model with these in its weights."""
        model = model_with_adapters(self)
        with offloading_renewed(self, model):
            if fused_adapters(model):
                fuse_adapters(model)
            elif names := loaded_adapters(model):
                model.delete_adapter(names)

    def set_lora_device(self, adapter_names: str | list[str], device: torch.device | str | int) -> None:
        """Moves adapters, such as those that are not active, to a device; those in use belong to the model's.

        Raises `ValueError` for names that are not loaded.
        """
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        model = model_with_adapters(self)
        refuse_unknown(model, names)
        for layer in adapter_layers(model):
            for attribute in (*layer.adapter_layer_names, *layer.other_param_names):
                weights: Any = getattr(layer, attribute, {})
                for one in [weights[name] for name in names if name in weights]:
                    if isinstance(one, nn.Module):
                        one.to(device)
                    elif isinstance(one, Tensor):
                        one.data = one.data.to(device)

    def enable_lora_hotswap(self, **options: Any) -> NoReturn:
        """Raises `ValueError`: adapters are not swapped in place, as diffusers' models swap theirs."""
        raise ValueError(NO_HOTSWAP)
