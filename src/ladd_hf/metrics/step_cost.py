"""Cost of a step that moves latents alone, over that of one that moves tokens, in counted operations."""

from __future__ import annotations

from typing import Any

import torch

from ..diffusion.denoiser import Denoiser
from ..diffusion.latents_alone import LatentsAlone
from ..diffusion.loss_draws import HeldOutTexts
from .flops import FlopCounter


@torch.no_grad()
def latent_step_cost(denoiser: Denoiser, texts: HeldOutTexts) -> float:
    """Counts the operations of a step that moves latents alone, over those of a step that moves tokens.

    Both without the projection to the vocabulary, of which a run makes one for each token, whatever its steps. The cost
    is 1 unless latents are predicted without tokens, as by a `separate` denoiser, or by one that `skips_masked_tokens`,
    while all tokens are masked.

    Args:
        denoiser: the model; without latents the cost is 1.
        texts: a batch of texts.

    Raises `ValueError` for a denoiser in whose steps no operation is counted.
    """
    alone = LatentsAlone.of(denoiser)
    if denoiser.latent_channel is None:
        return 1.0
    ones = torch.ones(1, dtype=torch.float64, device=texts.tokens.device)
    latents = (texts.encode or denoiser.encode)(texts.tokens, texts.attention_mask, None).clean
    options: dict[str, Any] = {
        "token_timesteps": ones,
        "latent_timesteps": ones,
        "attention_mask": texts.attention_mask,
        "logits_mask": torch.zeros_like(texts.maskable),
    }

    def flops(latents_move: bool) -> int:
        masked = torch.full_like(texts.tokens, alone.mask_id)
        with FlopCounter() as counter:
            alone.evaluate(denoiser.denoise, masked, latents, latents_move, **options)
        return counter.flops

    of_tokens, of_latents = flops(False), flops(True)
    if not of_tokens or not of_latents:
        raise ValueError("No operation of the denoiser is counted: tune its schedule with `cost='evaluations'`.")
    return of_latents / of_tokens
