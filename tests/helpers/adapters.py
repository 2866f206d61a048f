"""Adapters for tests: with nonzero weights, so that they change a model's output."""

from __future__ import annotations

import copy

import torch
from peft import LoraConfig, get_peft_model

WAYS = ("get_peft_model", "add_adapter")


def lora(target_modules="all-linear", **options):
    return LoraConfig(target_modules=target_modules, **{"r": 2, "init_lora_weights": False, **options})


def adapted(model, way, config=None, seed=1):
    """Adds one adapter to the model, by either of the two ways."""
    torch.manual_seed(seed)
    config = config or lora()
    if way == "get_peft_model":
        return get_peft_model(model, config).eval()
    model.add_adapter(config)
    return model.eval()


def noised(model):
    """Returns arguments of a call: two texts, tokens and latents noised."""
    config = model.config
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, config.mask_token_id, (2, 12), generator=generator)
    call = {"input_ids": tokens.masked_fill(torch.rand(2, 12, generator=generator) < 0.5, config.mask_token_id)}
    if config.latent_type == "continuous":
        call["latents"] = torch.randn(2, config.latent_length, config.latent_dim, generator=generator)
    elif config.latent_type == "discrete":
        call["latents"] = torch.randint(0, config.codebook_size + 1, (2, config.latent_length), generator=generator)
    return {**call, "token_timesteps": torch.full((2,), 0.5), "latent_timesteps": torch.full((2,), 0.5)}


@torch.no_grad()
def answers(model):
    """Returns logits, latents' prediction and the latents of a text: `{name: tensor}`.

    In float64: in float32 the last bits depend on the weights' layout in memory.
    """
    model = copy.deepcopy(model).double()
    call = noised(model)
    call = {name: value.double() if value.is_floating_point() else value for name, value in call.items()}
    output = model(**call)
    found = {"logits": output.logits}
    if output.latent_prediction is not None:
        found["prediction"] = output.latent_prediction
        found["latents"] = model.encode_latents((torch.arange(9) % (model.config.mask_token_id - 1) + 1)[None])
    return found


def assert_close(left, right, atol=1e-12):
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(right[name], value, rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


def differs(left, right):
    return not torch.equal(left["logits"], right["logits"])
