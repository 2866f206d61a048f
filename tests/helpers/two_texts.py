"""A denoiser of continuous latents that is exact."""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch

from ladd_hf.diffusion.continuous_latents import ContinuousLatents
from ladd_hf.diffusion.masked_channels import MaskedChannel
from ladd_hf.diffusion.noise_schedules import gaussian_schedule, mask_schedule

from .modeless import Modeless


class TwoTexts(Modeless):
    """Tokens 0 or 1 whose latents are -1 and 1: their posterior given y_t is known."""

    def __init__(self, schedule="sqrt", says=1.0):
        self.token_channel = MaskedChannel(mask_schedule("linear"), 2)
        self.latent_channel = ContinuousLatents(gaussian_schedule(schedule), False, 1)
        self.says = says

    def encode(self, tokens, attention_mask=None, random=None, update_codebook=True):
        return SimpleNamespace(clean=2.0 * tokens[..., None] - 1)

    def denoise(self, tokens, latents, *, token_timesteps, latent_timesteps, logits_mask, **_):
        assert (tokens[logits_mask] == 2).all() and (token_timesteps == 1).all(), "nothing is seen but the latents"
        signal = self.latent_channel.schedule.signal_variance(latent_timesteps)[:, None]
        ratio = self.says * signal.sqrt() / (1 - signal) * latents[..., 0]
        logits = torch.stack([-ratio, ratio, torch.full_like(ratio, -math.inf)], dim=-1)
        return SimpleNamespace(logits=logits[logits_mask])
