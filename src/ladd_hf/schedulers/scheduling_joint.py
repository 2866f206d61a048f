"""Tokens and latents together: the diagonal of the time square."""

from __future__ import annotations

from typing import Any

from diffusers import SchedulerMixin
from diffusers.configuration_utils import register_to_config

from ..diffusion.paths import JOINT, TimePath
from .scheduling_ladd import LaddScheduler


class LaddJointScheduler(LaddScheduler, SchedulerMixin):  # diffusers looks for this base by name when it loads
    """Denoises tokens and latents at the same time t_x = t_y; without latents, the ancestral sampler of MDLM.

    Args:
        timestep_spacing: `uniform` or `cosine` grid of times.
        latent_solver: `ddim` or `ddpm`, the step of continuous latents.
        unmasking: which tokens a step reveals: `ancestral` (the model's own law), `first_hitting` (evenly many at
            random places), or the surest ones by `top_probability`, `margin` or `entropy`; see `unmasking.py`.
        remasking, remasking_rate: `none`, or `cap` or `rescale` and the rate eta, to mask visible tokens again (ReMDM);
            see `remasking.py`.
        mask_token_id, token_noise_schedule, latent_type, latent_dim, codebook_size, latent_noise_schedule,
            latent_prediction_type: the noise processes as in [`LaddConfig`]; a pipeline takes them from its model.
        pad_token_id, tokenizer_size: a padding token, and ids from a number up, that are never written; a pipeline
            takes them from its model as well.
    """

    @register_to_config
    def __init__(
        self,
        timestep_spacing: str = "uniform",
        latent_solver: str = "ddim",
        unmasking: str = "ancestral",
        remasking: str = "none",
        remasking_rate: float = 0.0,
        mask_token_id: int | None = None,
        pad_token_id: int | None = None,
        tokenizer_size: int | None = None,
        token_noise_schedule: str | dict[str, Any] = "linear",
        latent_type: str = "none",
        latent_dim: int = 0,
        codebook_size: int = 0,
        latent_noise_schedule: str | dict[str, Any] | None = None,
        latent_prediction_type: str = "sample",
    ) -> None:
        self._setup()

    @property
    def path(self) -> TimePath:
        """The diagonal of the time square."""
        return JOINT

    def steps_per_leg(self, num_steps: int) -> list[int]:
        """All of them on its one leg."""
        return [num_steps]
