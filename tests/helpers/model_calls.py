"""Calls of a tiny model with arbitrary valid arguments."""

from __future__ import annotations

import torch

from ladd_hf import TrainingNoise, TrainingObjective

KINDS = ("none", "continuous", "anchors", "separate", "separate_codes", "discrete", "alone", "vector", "gumbel")
LATENT_KINDS = KINDS[1:]
MASK, TIMES = 10, torch.tensor([0.2, 0.9])
WRITTEN = slice(1, MASK)  # ids with a probability: padding, which is 0, and the mask have none
EVERYTHING = TrainingObjective(
    latent_dropout=0.3,
    encoder_corruption=0.5,
    contrastive_weight=0.1,
    conditional_independence_weight=0.1,
    latent_kl_weight=0.01,
)


def some_tokens(rows=2, length=12):
    return torch.randint(1, 10, (rows, length))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def seeded_texts(rows=16, length=12):
    return torch.randint(1, 10, (rows, length), generator=seeded())


def watched(model):
    """Keeps each evaluation of a model, arguments and output, in `model.calls`; returns the model."""
    model.calls, denoise = [], model.denoise

    def kept(input_ids, latents=None, **kwargs):
        output = denoise(input_ids, latents, **kwargs)
        model.calls.append({"input_ids": input_ids, "latents": latents, "output": output, **kwargs})
        return output

    model.denoise = kept
    return model


def noised(tokens):
    return torch.where(torch.rand(tokens.shape) < 0.5, MASK, tokens)


def some_latents(model, rows=2):
    """Noisy latents of the model's kind; some codes masked."""
    config = model.config
    if config.latent_type == "none":
        return None
    if config.latent_type == "continuous":
        return torch.randn(rows, 4, 3)
    return torch.randint(0, config.codebook_size + 1, (rows, 4))


def call(model, tokens, **kwargs):
    """Calls the model as in its contract, at arbitrary times."""
    latents = kwargs.pop("latents", some_latents(model, len(tokens)))
    return model(tokens, latents, TIMES[: len(tokens)], TIMES[: len(tokens)].flip(0), **kwargs)


def loss_of(model, tokens, **kwargs):
    kwargs.setdefault("labels", tokens)
    kwargs.setdefault("noise", TrainingNoise(0, torch.arange(len(tokens))))
    return model(tokens, loss_only=True, **kwargs)


def gradients(model, loss):
    """Returns the gradient of every weight that has one, by name."""
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
