"""The joint schedule of tokens and latents: the diagonal of the time square."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import SchedulerMixin
from diffusers.configuration_utils import register_to_config

from ..diffusion.paths import JOINT
from ..diffusion.process import NoiseProcess
from ..utils.registry import Spec
from .scheduling_ladd import LaddScheduler


# loading looks the second base up by name, in this module, as of diffusers 0.42.1
class LaddJointScheduler(LaddScheduler, SchedulerMixin):
    """Denoises tokens and latents at the same time t_x = t_y; without latents, MDLM's ancestral sampler.

    Args:
        timestep_spacing, latent_solver, latent_renoising, latent_rescaling, unmasking, remasking, token_waiting,
            temperature, latent_temperature, noise_process, pad_token_id, tokenizer_size, latent_unpooling: as in
            [`LaddScheduler`].
    """

    @register_to_config
    def __init__(
        self,
        timestep_spacing: str = "uniform",
        latent_solver: str | None = None,
        latent_renoising: float = 0.0,
        latent_rescaling: str = "none",
        unmasking: Spec = "ancestral",
        remasking: Spec = "none",
        token_waiting: Spec = "none",
        temperature: float = 1.0,
        latent_temperature: float = 1.0,
        noise_process: NoiseProcess | Mapping[str, Any] | None = None,
        pad_token_id: int | None = None,
        tokenizer_size: int | None = None,
        latent_unpooling: Spec = "none",
    ) -> None:
        self._walk(JOINT)
