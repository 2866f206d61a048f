"""Models with peft adapters in their layers (LoRA and the like): their weights, and merging them into the model.

Adapters are recognised by attributes, not by class, so that a model loads without peft installed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn

# Layers for `LoraConfig(target_modules=...)`: attention and MLPs of every stream, of the denoiser and the encoder.
# `"all-linear"` adds the projections of latents in and out, of the quantiser, and of the times.
LORA_TARGETS = ("qkv_proj", "o_proj", "up_proj", "down_proj")

# Attribute of a model with fused adapters: pairs of a layer and its scales by adapter from before.
SCALES_BEFORE_FUSING = "_lora_scales_before_fusing"


def is_adapter(module: Any) -> bool:
    """True if a module is a peft adapter around a layer of the model."""
    return bool(getattr(module, "adapter_layer_names", ()))


def adapter_layers(model: nn.Module) -> Iterator[Any]:
    """Yields the layers with adapters, as peft modules."""
    return filter(is_adapter, model.modules())


def has_adapters(model: nn.Module) -> bool:
    """True if any layer has adapters, active or not, added by `get_peft_model` or by `add_adapter`."""
    return any(True for _ in adapter_layers(model))


def adapter_parameters(model: nn.Module, names: Iterable[str] | None = None) -> Iterator[nn.Parameter]:
    """Yields the weights of the adapters with these names; of the active ones by default."""
    for layer in adapter_layers(model):
        for name in layer.adapter_layer_names:
            weights: Any = getattr(layer, name, {})
            for adapter in layer.active_adapters if names is None else names:
                if adapter in weights:
                    one = weights[adapter]
                    yield from one.parameters() if isinstance(one, nn.Module) else [one]


def learnable_names(model: nn.Module) -> set[str]:
    """Returns the names of the trainable parameters: all of them, or with adapters those that peft left trainable."""
    if not has_adapters(model):
        return {name for name, _ in model.named_parameters()}
    adapters = {id(parameter) for parameter in adapter_parameters(model)}
    return {name for name, p in model.named_parameters() if p.requires_grad or id(p) in adapters}


def base_model(model: Any) -> Any:
    """Returns the transformers model inside of `torch.compile` and `get_peft_model`, with its adapters.

    Raises `ValueError` for adapters outside the layers (prompt and prefix tuning), which would be left behind.
    """
    model = getattr(model, "_orig_mod", model)
    if not hasattr(model, "get_base_model"):
        return model
    for config in model.peft_config.values():
        if config.is_prompt_learning:
            raise ValueError(
                f"The adapter is of type {config.peft_type.value}, which puts virtual tokens before the text; a LADD "
                "model takes adapters in its layers, such as LoRA: use `LoraConfig`."
            )
    return model.get_base_model()


def merged(model: Any) -> Any:
    """Returns a copy of a model with its active adapters merged into its weights: the same function, a plain model.

    Adapters that are inactive or disabled are left out. The model itself is unchanged.
    """
    return fuse_adapters(copy.deepcopy(base_model(model)))


def fuse_adapters(model: Any) -> Any:
    """Merges the active adapters into the model's own weights, removes all of them, and returns the model."""
    untie_adapted(model)
    return _plain(model, _merged_layer)


def remove_adapters(model: Any) -> Any:
    """Removes all adapters without merging, and returns the model."""
    return _plain(model, _own_layer)


def _plain(model: Any, layer_without: Callable[[Any], nn.Module]) -> Any:
    _replace_layers(model, layer_without)
    for attribute in ("peft_config", "_hf_peft_config_loaded", SCALES_BEFORE_FUSING):
        model.__dict__.pop(attribute, None)
    model.requires_grad_(True)
    if getattr(model, "latent_encoder_frozen", False):
        model.freeze_latent_encoder()
    return model


def _replace_layers(module: nn.Module, layer_without: Callable[[Any], nn.Module]) -> None:
    for name, child in list(module.named_children()):
        if is_adapter(child):
            setattr(module, name, layer_without(child))
        else:
            _replace_layers(child, layer_without)


def _merged_layer(layer: Any) -> nn.Module:
    if layer.disable_adapters:
        return _own_layer(layer)
    if hasattr(layer, "original_module"):  # a whole trained module, or some of its rows
        return layer.unload_and_optionally_merge_module(merge=True, safe_merge=True, adapter_names=None)
    if not layer.merged:
        layer.merge(safe_merge=True)
    return layer.get_base_layer()


def _own_layer(layer: Any) -> nn.Module:
    if hasattr(layer, "original_module"):
        return layer.original_module
    if layer.merged:
        layer.unmerge()
    return layer.get_base_layer()


def untie_adapted(model: Any) -> None:
    """Unties the vocabulary projection from the embedding if one of them has an adapter."""
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    if getattr(model.config, "tie_word_embeddings", False) and any(map(is_adapter, layers)):
        head = layers[1]
        head = head.get_base_layer() if hasattr(head, "get_base_layer") else getattr(head, "original_module", head)
        head.weight = nn.Parameter(head.weight.detach().clone())
        model.config.tie_word_embeddings = False
