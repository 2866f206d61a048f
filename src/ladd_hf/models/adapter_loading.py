"""Strict loading and deletion of a model's adapters."""

from __future__ import annotations

from typing import Any

from transformers.integrations import PeftAdapterMixin

from .adapters import adapter_layers, adapter_parameters, remove_adapters
from .loading import clear_adapter_errors, refuse_other_adapter


class AdapterLoading(PeftAdapterMixin):
    """A transformers model's adapters, loaded strictly and deleted without remains."""

    def load_adapter(
        self, peft_model_id: str | None = None, adapter_name: str | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Extends `PreTrainedModel.load_adapter`: the adapter must have exactly the weights of this model's layers.

        Raises `ValueError` for another one and `OSError` for damaged files, and then leaves the model's adapters
        unchanged.
        """
        model: Any = self
        name = adapter_name or "default"
        if name in getattr(self, "peft_config", {}):  # replaced, or refused, before anything is changed
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
            # else the model would later be saved with an adapter's names, as of transformers 5.23.0
            model._weight_conversions = renamed
        return info

    def _take_back(self, name: str, active: list[str]) -> None:
        """Deletes a partly loaded adapter, and activates the earlier ones."""
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
        """Extends `delete_adapter`: after the last adapter all layers are plain again, and trainable.

        As of transformers 5.23.0 peft's layers stay around them.
        """
        super().delete_adapter(adapter_names)
        if not self._hf_peft_config_loaded:
            remove_adapters(self)

    def enable_adapters(self) -> None:
        """Extends `enable_adapters` to whole modules that an adapter trained, left out as of transformers 5.23.0."""
        super().enable_adapters()
        model: Any = self
        for layer in adapter_layers(model):
            layer.enable_adapters(enabled=True)
