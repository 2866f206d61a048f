"""Cost of a step that moves latents alone, over that of one that moves tokens, in counted operations."""

from __future__ import annotations

from typing import Any

import torch

from ..diffusion.denoiser import Denoiser
from ..diffusion.loss_draws import HeldOutTexts
from .flops import FlopCounter


@torch.no_grad()
def latent_step_cost(denoiser: Denoiser, texts: HeldOutTexts, latents_alone: bool = False) -> float:
    """Counts the operations of a step that moves latents alone, over those of a step that moves tokens.

    Both without the projection to the vocabulary, of which a run makes one for each token, whatever its steps.

    Args:
        denoiser: the model; without latents the cost is 1.
        texts: a batch of texts.
        latents_alone: True if the denoiser of latents is a network of its own, called with `input_ids=None`.

    Raises `ValueError` for a denoiser in whose steps no operation is counted.
    """
    if denoiser.latent_channel is None:
        return 1.0
    ones = torch.ones(1, dtype=torch.float64, device=texts.tokens.device)
    latents = (texts.encode or denoiser.encode)(texts.tokens, texts.attention_mask, None).clean
    times = {"token_timesteps": ones, "latent_timesteps": ones}
    whole = {**times, "attention_mask": texts.attention_mask, "logits_mask": torch.zeros_like(texts.maskable)}

    def flops(*inputs: Any, **options: Any) -> int:
        with FlopCounter() as counter:
            denoiser.denoise(*inputs, **options)
        return counter.flops

    of_tokens = flops(texts.tokens, latents, **whole, **({"predict_latents": False} if latents_alone else {}))
    of_latents = flops(None, latents, **times) if latents_alone else of_tokens
    if not of_tokens or not of_latents:
        raise ValueError("No operation of the denoiser is counted: tune its schedule with `cost='evaluations'`.")
    return of_latents / of_tokens
