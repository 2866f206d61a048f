"""The model of a pipeline as one that takes adapters, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..models.adapters import adapter_layers
from ..utils.wrong_objects import described

# Attribute of a layer: weights of its adapters by name, and their scales as they were added or loaded.
_OWN_SCALES = "_ladd_own_scales"


def model_with_adapters(pipe: Any) -> Any:
    """Returns a pipeline's model. Raises `ValueError` if it takes no adapters, or manages its own."""
    model = getattr(pipe.model, "_orig_mod", pipe.model)  # unwrap a compiled model
    if hasattr(model, "get_base_model"):
        raise ValueError(
            "`get_peft_model` has wrapped the pipeline's model, and manages its adapters: use the methods of "
            "`pipe.model`, or `merge_and_unload` it and make a pipeline of what that gives."
        )
    if not hasattr(model, "load_adapter"):
        raise ValueError(f"The pipeline's model, a {type(model).__name__}, takes no adapters of peft.")
    return model


def loaded_adapters(model: Any) -> list[str]:
    """Returns the names of a model's adapters, active or not."""
    return list(getattr(model, "peft_config", {}))


def active_adapters(model: Any) -> list[str]:
    """Returns the names of the active adapters, including those that are disabled."""
    return list(model.active_adapters()) if model._hf_peft_config_loaded else []


def fused_adapters(model: Any) -> set[str]:
    """Returns the names of the adapters that are fused into the weights and can still be taken out."""
    return {name for layer in adapter_layers(model) for name in getattr(layer, "merged_adapters", ())}


def refuse_unknown(model: Any, names: Iterable[str]) -> None:
    """Raises `ValueError` for names of adapters that are not loaded."""
    present = loaded_adapters(model)
    if missing := [name for name in names if name not in present]:
        raise ValueError(f"Adapter name(s) {missing} not in the list of present adapters: {present}.")


def refuse_fused(model: Any, wish: str) -> None:
    """Raises `ValueError` if adapters are fused, where the layers would use those whatever is asked for."""
    if fused := fused_adapters(model):
        raise ValueError(
            f"The adapters {sorted(fused)} are fused into the weights: call `unfuse_lora()`, or "
            f"`unload_lora_weights()` to keep them there for good, before you {wish}."
        )


def refuse_weight(model: Any, adapters: Iterable[str]) -> None:
    """Raises `ValueError` if one of these adapters has weights that cannot be scaled."""
    for layer in adapter_layers(model):
        for name in adapters:
            held = any(name in getattr(layer, weights, {}) for weights in layer.adapter_layer_names)
            if held and name not in scaling_of(layer):
                raise ValueError(
                    f"The adapter {name!r} holds whole modules or another kind of weights, which cannot be "
                    "weighed: leave its weight at 1."
                )


def scaling_of(layer: Any) -> dict[str, float]:
    """Returns the scales of a layer's adapters by name, for peft's layers that have such."""
    scaling = getattr(layer, "scaling", None)
    return scaling if isinstance(scaling, dict) else {}


def weigh(model: Any, weights: Mapping[str, float]) -> None:
    """Scales adapters by name, each by its weight times the scale with which it was added or loaded.

    peft's own `set_scale` forgets that of some kinds, such as AdaLoRA's (as of peft 0.21.2).
    """
    for layer in adapter_layers(model):
        scaling = scaling_of(layer)
        own = layer.__dict__.setdefault(_OWN_SCALES, {})
        for name in scaling.keys() & weights:
            held = [kinds[name] for one in layer.adapter_layer_names if name in (kinds := getattr(layer, one, {}))]
            if name not in own or own[name][0] is not held[0]:  # an adapter that is new by this name
                own[name] = held[0], scaling[name]
            scaling[name] = weights[name] * own[name][1]


def refuse_components(components: Any, known: list[str], argument: str = "components") -> None:
    """Raises `ValueError` for names of components without adapters, and for none at all."""
    if components is None:
        return
    listed = isinstance(components, Sequence | Mapping) and not isinstance(components, str)
    if not listed or not components or any(name not in known for name in components):
        given = list(components) if listed else described(components)
        raise ValueError(f"`{argument}` is {given}; adapters belong to {known}: give these, or leave it out.")
