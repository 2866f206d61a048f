"""Adapters that are loaded into a model and deleted from it: wholly, or not at all."""

from __future__ import annotations

from typing import Any

from transformers.integrations import PeftAdapterMixin

from .adapters import adapter_layers, adapter_parameters, remove_adapters
from .loading import clear_adapter_errors, refuse_other_adapter


class AdapterLoading(PeftAdapterMixin):
    """The adapters of a transformers model, but strict, and without a trace of those that are gone."""

    def load_adapter(
        self, peft_model_id: str | None = None, adapter_name: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """As of any model, but that the adapter must be one of such a model: exactly the weights of its layers.

        Raises `ValueError` for another one and `OSError` for files that are damaged, and leaves the model's adapters as
        they were.
        """
        model: Any = self
        name = adapter_name or "default"
        if name in getattr(self, "peft_config", {}):  # to be exchanged, or refused, before anything is changed
            return super().load_adapter(peft_model_id, adapter_name, *args, **kwargs)
        active = self.active_adapters() if self._hf_peft_config_loaded else []
        renamed = getattr(model, "_weight_conversions", None)
        try:
            with clear_adapter_errors(peft_model_id or "given"):
                info = super().load_adapter(peft_model_id, adapter_name, *args, ignore_mismatched_sizes=True, **kwargs)
            own = {id(parameter) for parameter in adapter_parameters(model, [name])}
            found = {key for key, parameter in model.named_parameters() if id(parameter) in own}
            refuse_other_adapter(peft_model_id or "given", info, found)
        except BaseException:
            self._take_back(name, active)
            raise
        finally:
            model._weight_conversions = renamed  # else a whole model would later be saved under an adapter's names
        return info

    def _take_back(self, name: str, active: list[str]) -> None:
        """Deletes an adapter of which any part may be there, and activates those that were."""
        model: Any = self
        getattr(model, "peft_config", {}).pop(name, None)
        if not active:
            remove_adapters(model)
            return
        for layer in adapter_layers(model):
            if hasattr(layer, "delete_adapter"):
                layer.delete_adapter(name)
        self.set_adapter(active)

    def delete_adapter(self, adapter_names: list[str] | str) -> None:
        """As of any model; with the last adapter its traces go, too: the layers are plain, and may be trained."""
        super().delete_adapter(adapter_names)
        if not self._hf_peft_config_loaded:
            remove_adapters(self)

    def enable_adapters(self) -> None:
        """As of any model, whole modules that an adapter has trained included."""
        super().enable_adapters()
        model: Any = self
        for layer in adapter_layers(model):
            layer.enable_adapters(enabled=True)
