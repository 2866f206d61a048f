"""The two noise processes as the settings of a model or a scheduler say them."""

from __future__ import annotations

from typing import Any

from .channels import ContinuousLatents, DiscreteLatents, LatentChannel, MaskedChannel
from .noise_schedules import gaussian_schedule, mask_schedule


def token_channel(config: Any) -> MaskedChannel:
    """The token channel of a model's configuration."""
    return MaskedChannel(mask_schedule(config.token_noise_schedule), config.mask_token_id)


def latent_channel(config: Any, solver: str = "ddim") -> LatentChannel | None:
    """The latent channel of a model's configuration, `None` without latents; `solver` is for sampling."""
    if config.latent_type == "none":
        return None
    spec = config.latent_noise_schedule or ""
    if config.latent_type == "discrete":
        return DiscreteLatents(mask_schedule(spec), config.codebook_size)
    schedule = gaussian_schedule(spec)
    return ContinuousLatents(schedule, config.latent_prediction_type == "epsilon", config.latent_dim, solver)
