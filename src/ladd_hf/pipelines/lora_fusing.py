"""Fusing of adapters into the weights of a pipeline's model, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..models.adapters import SCALES_BEFORE_FUSING, adapter_layers, untie_adapted
from .lora_model import (
    active_adapters,
    fused_adapters,
    model_with_adapters,
    refuse_components,
    refuse_fused,
    refuse_unknown,
    refuse_weight,
)


class LoraFusing:
    """Part of a pipeline: adapters that are added to the weights, for the speed of a model without adapters."""

    _lora_loadable_modules: list[str]

    def fuse_lora(
        self,
        components: Sequence[str] | None = None,
        lora_scale: float = 1.0,
        safe_fusing: bool = True,
        adapter_names: str | Sequence[str] | None = None,
    ) -> None:
        """Adds adapters to the model's weights, where they stay until `unfuse_lora`.

        `unload_lora_weights` then removes the adapters' layers and leaves a plain model with these weights, and so does
        `save_pretrained` in the copy that it saves.

        Args:
            components: `["model"]`, the one component with adapters, which is the default.
            lora_scale: weight of the adapters, times that of `set_adapters`.
            safe_fusing: refuse weights that are not finite, at the cost of a copy of each layer.
            adapter_names: adapters to fuse, which become the active ones; by default those that are active.

        Raises `ValueError` if adapters are fused already or disabled, for names that are not loaded, and for a scale of
        an adapter that cannot be scaled.
        """
        refuse_components(components, self._lora_loadable_modules)
        model = model_with_adapters(self)
        refuse_fused(model, "fuse others")
        given = [adapter_names] if isinstance(adapter_names, str) else adapter_names
        names = active_adapters(model) if given is None else list(given)
        refuse_unknown(model, names)
        if any(layer.disable_adapters for layer in adapter_layers(model)):
            raise ValueError("The adapters are disabled: call `enable_lora()` before `fuse_lora()`.")
        if lora_scale != 1:
            refuse_weight(model, names)
        if not names:
            return
        model.set_adapter(names)
        untie_adapted(model)
        scaled = [layer for layer in adapter_layers(model) if hasattr(layer, "scaling")]
        setattr(model, SCALES_BEFORE_FUSING, [(layer, dict(layer.scaling)) for layer in scaled])
        for layer in scaled:
            layer.scaling.update({name: lora_scale * layer.scaling[name] for name in names if name in layer.scaling})
        try:
            for layer in adapter_layers(model):
                if hasattr(layer, "merge"):  # whole modules are in use as they are
                    layer.merge(safe_merge=safe_fusing)
        except BaseException:
            _unfuse(model)
            raise

    def unfuse_lora(self, components: Sequence[str] | None = None) -> None:
        """Takes fused adapters out of the weights again, up to rounding; they stay active, with their former scales.

        An embedding and a projection to the vocabulary that fusing has untied stay two weights.
        """
        refuse_components(components, self._lora_loadable_modules)
        _unfuse(model_with_adapters(self))

    @property
    def fused_loras(self) -> set[str]:
        """Names of the adapters that are fused and can be taken out again."""
        return fused_adapters(model_with_adapters(self))

    @property
    def num_fused_loras(self) -> int:
        """Number of adapters that are fused and can be taken out again."""
        return len(self.fused_loras)


def _unfuse(model: Any) -> None:
    for layer in adapter_layers(model):
        if getattr(layer, "merged", False):
            layer.unmerge()
    for layer, scales in model.__dict__.pop(SCALES_BEFORE_FUSING, []):
        layer.scaling.update(scales)
