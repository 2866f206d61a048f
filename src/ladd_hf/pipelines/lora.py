"""Adapters of a pipeline's model, by the names they have in diffusers' pipelines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..models.adapters import adapter_layers, fuse_adapters


class LoraPipelineMixin:
    """Loads, weighs, merges and saves adapters of `self.model`."""

    model: Any

    def load_lora_weights(
        self, pretrained_model_name_or_path: str | os.PathLike, adapter_name: str | None = None, **options: Any
    ) -> None:
        """Loads an adapter from a folder or repository and activates it alone.

        Args:
            pretrained_model_name_or_path: where peft, a trainer or `save_lora_weights` left an adapter.
            adapter_name: what to call it; `default_0`, `default_1` and so on if not given.
            options: `revision`, `token`, `cache_dir`, `subfolder`, `local_files_only` and `force_download`.

        Raises `ValueError` for a name that is taken and for an adapter of another model.
        """
        model = self._model_with_adapters()
        taken = getattr(model, "peft_config", {})
        numbered = (f"default_{number}" for number in range(len(taken) + 1))
        adapter_name = adapter_name or next(name for name in numbered if name not in taken)
        model.load_adapter(os.fspath(pretrained_model_name_or_path), adapter_name, adapter_kwargs=options)
        model.enable_adapters()  # else, after `disable_lora`, it would count only in layers that had no adapter before

    def save_lora_weights(self, save_directory: str | os.PathLike, adapter_name: str | None = None) -> None:
        """Saves one adapter alone, the active one if none is named; not the weight that `set_adapters` gave it.

        Raises `ValueError` where it is not told which.
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
        """Activates these adapters and no other; each counts as often as its weight says.

        Raises `ValueError` for names that are not loaded, weights of another number than the names, and weights for
        an adapter that cannot be weighed.
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
        """Names of the adapters that count, or will again after `enable_lora`."""
        model = self._model_with_adapters()
        return list(model.active_adapters()) if model._hf_peft_config_loaded else []

    def get_list_adapters(self) -> dict[str, list[str]]:
        """Names of all adapters that are loaded, by the part of the pipeline that has them."""
        names = list(getattr(self._model_with_adapters(), "peft_config", {}))
        return {"model": names} if names else {}

    def disable_lora(self) -> None:
        """Lets no adapter count."""
        self._model_with_adapters().disable_adapters()

    def enable_lora(self) -> None:
        """Lets the active adapters count again."""
        self._model_with_adapters().enable_adapters()

    def delete_adapters(self, adapter_names: str | list[str]) -> None:
        """Deletes adapters. Raises `ValueError` for names that are not loaded."""
        self._model_with_adapters().delete_adapter(adapter_names)

    def unload_lora_weights(self) -> None:
        """Deletes all adapters, if there are any: the model is what it was before the first was loaded."""
        if names := self.get_list_adapters():
            self.delete_adapters(names["model"])

    def fuse_lora(self, lora_scale: float = 1.0) -> None:
        """Merges the active adapters, `lora_scale` times, into the model's weights for good: it writes the same, as
        fast as without any. Adapters that are not active are gone, too."""
        model = self._model_with_adapters()
        if lora_scale != 1:
            _refuse_weight(model, self.get_active_adapters())
            for layer in adapter_layers(model):
                if hasattr(layer, "scale_layer"):
                    layer.scale_layer(lora_scale)
        fuse_adapters(model)

    def _model_with_adapters(self) -> Any:
        model = getattr(self.model, "_orig_mod", self.model)  # of a compiled one
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
