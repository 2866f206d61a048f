"""Calls of a tiny model with arguments that nobody has to think about."""

from __future__ import annotations

import torch

from ladd_hf import TrainingNoise

KINDS = ("none", "continuous", "separate", "discrete", "vector", "gumbel")
LATENT_KINDS = KINDS[1:]
MASK, TIMES = 10, torch.tensor([0.2, 0.9])


def some_tokens(rows=2, length=12):
    return torch.randint(1, 10, (rows, length))


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
    """The contract's call at times that nobody has to think about."""
    latents = kwargs.pop("latents", some_latents(model, len(tokens)))
    return model(tokens, latents, TIMES[: len(tokens)], TIMES[: len(tokens)].flip(0), **kwargs)


def loss_of(model, tokens, **kwargs):
    kwargs.setdefault("labels", tokens)
    kwargs.setdefault("noise", TrainingNoise(0, torch.arange(len(tokens))))
    return model(tokens, loss_only=True, **kwargs)
