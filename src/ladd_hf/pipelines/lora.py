"""Adapters of a pipeline's model, with the method names of diffusers' pipelines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..models.adapters import adapter_layers, fuse_adapters


class LoraPipelineMixin:
    """Loads, weights, merges and saves adapters of `self.model`."""

    model: Any

    def load_lora_weights(
        self, pretrained_model_name_or_path: str | os.PathLike, adapter_name: str | None = None, **options: Any
    ) -> None:
        """Loads an adapter from a folder or repository and makes it the only active one.

        Args:
            pretrained_model_name_or_path: an adapter saved by peft, a trainer or `save_lora_weights`.
            adapter_name: its name; `default_0`, `default_1` and so on by default.
            options: `revision`, `token`, `cache_dir`, `subfolder`, `local_files_only` and `force_download`.

        Raises `ValueError` for a name in use and for an adapter of another model.
        """
        model = self._model_with_adapters()
        taken = getattr(model, "peft_config", {})
        numbered = (f"default_{number}" for number in range(len(taken) + 1))
        adapter_name = adapter_name or next(name for name in numbered if name not in taken)
        model.load_adapter(os.fspath(pretrained_model_name_or_path), adapter_name, adapter_kwargs=options)
        model.enable_adapters()  # `disable_lora` would still affect layers with earlier adapters

    def save_lora_weights(self, save_directory: str | os.PathLike, adapter_name: str | None = None) -> None:
        """Saves one adapter, by default the active one, without its weight from `set_adapters`.

        Raises `ValueError` if no adapter is named and there is not exactly one active adapter.
        """
        model, active = self._model_with_adapters(), self.get_active_adapters()
        if adapter_name is None and len(active) != 1:
            raise ValueError(f"The active adapters are {active}: give the `adapter_name` of the one to save.")
        if adapter_name is not None:
            model.set_adapter(adapter_name)
        try:
            model.save_pretrained(save_directory)
        finally:
            model.set_adapter(active)

    def set_adapters(self, adapter_names: str | list[str], adapter_weights: float | Sequence[float] = 1.0) -> None:
        """Activates only these adapters, each scaled by its weight.

        Raises `ValueError` for names that are not loaded, if the numbers of weights and names differ, and for a weight
        of an adapter that cannot be scaled.
        """
        model = self._model_with_adapters()
        names = [adapter_names] if isinstance(adapter_names, str) else list(adapter_names)
        weights = [adapter_weights] * len(names) if isinstance(adapter_weights, int | float) else list(adapter_weights)
        if len(weights) != len(names):
            raise ValueError(
                f"There are {len(weights)} `adapter_weights` for {len(names)} adapters: give one for each."
            )
        _refuse_weight(model, [name for name, weight in zip(names, weights, strict=True) if weight != 1])
        model.set_adapter(names)
        for layer in adapter_layers(model):
            for name, weight in zip(names, weights, strict=True):
                if hasattr(layer, "set_scale"):
                    layer.set_scale(name, weight)

    def get_active_adapters(self) -> list[str]:
        """Returns the names of the active adapters, including those disabled by `disable_lora`."""
        model = self._model_with_adapters()
        return list(model.active_adapters()) if model._hf_peft_config_loaded else []

    def get_list_adapters(self) -> dict[str, list[str]]:
        """Returns the names of all loaded adapters by component of the pipeline."""
        names = list(getattr(self._model_with_adapters(), "peft_config", {}))
        return {"model": names} if names else {}

    def disable_lora(self) -> None:
        """Disables all adapters."""
        self._model_with_adapters().disable_adapters()

    def enable_lora(self) -> None:
        """Enables the active adapters again."""
        self._model_with_adapters().enable_adapters()

    def delete_adapters(self, adapter_names: str | list[str]) -> None:
        """Deletes adapters. Raises `ValueError` for names that are not loaded."""
        self._model_with_adapters().delete_adapter(adapter_names)

    def unload_lora_weights(self) -> None:
        """Deletes all adapters, which restores the model as it was before the first was loaded."""
        if names := self.get_list_adapters():
            self.delete_adapters(names["model"])

    def fuse_lora(self, lora_scale: float = 1.0) -> None:
        """Merges the active adapters, scaled by `lora_scale`, permanently into the model's weights, for the speed of a
        model without adapters. Adapters that are not active are deleted."""
        model = self._model_with_adapters()
        if lora_scale != 1:
            _refuse_weight(model, self.get_active_adapters())
            for layer in adapter_layers(model):
                if hasattr(layer, "scale_layer"):
                    layer.scale_layer(lora_scale)
        fuse_adapters(model)

    def _model_with_adapters(self) -> Any:
        model = getattr(self.model, "_orig_mod", self.model)  # unwrap a compiled model
        if hasattr(model, "get_base_model"):
            raise ValueError(
                "`get_peft_model` has wrapped the pipeline's model, and manages its adapters: use the methods of "
                "`pipe.model`, or `merge_and_unload` it and make a pipeline of what that gives."
            )
        if not hasattr(model, "load_adapter"):
            raise ValueError(f"The pipeline's model, a {type(model).__name__}, takes no adapters of peft.")
        return model


def _refuse_weight(model: Any, adapters: list[str]) -> None:
    for layer in adapter_layers(model):
        held = [
            name for name in adapters for weights in layer.adapter_layer_names if name in getattr(layer, weights, {})
        ]
        if held and not hasattr(layer, "set_scale"):
            raise ValueError(
                f"The adapter {held[0]!r} holds whole modules or another kind of weights, which cannot be "
                "weighed: leave its weight at 1."
            )
