"""The sequential schedule, first latents, then tokens: two sides of the time square."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import SchedulerMixin
from diffusers.configuration_utils import register_to_config

from ..diffusion.paths import SEQUENTIAL
from ..diffusion.process import NoiseProcess
from ..utils.number_ranges import NumberRange, check_ranges, whole
from ..utils.registry import Spec
from .scheduling_ladd import LaddScheduler

# Ranges of the options for steps.
STEP_RANGES = {
    "latent_share": NumberRange(
        "a share of the steps between 0 and 1", least=0, most=1, without_ends=("least", "most")
    ),
    "max_latent_steps": whole(1, "a whole number of at least 1, or None for no limit"),
}


# loading looks the second base up by name, in this module, as of diffusers 0.42.1
class LaddSequentialScheduler(LaddScheduler, SchedulerMixin):
    """Denoises the latents with every token masked (t_x = 1), then the tokens with clean latents (t_y = 0).

    Args:
        latent_share: share of the steps for the latents, rounded half up; latents and tokens get at least one step
            each.
        max_latent_steps: limit of the latents' steps; a single step is exact if the latent is a single code.
        timestep_spacing, latent_solver, latent_renoising, latent_rescaling, unmasking, remasking, token_waiting,
            temperature, latent_temperature, noise_process, pad_token_id, tokenizer_size, latent_unpooling: as in
            [`LaddScheduler`]. No token waits for latents that come first.
    """

    @register_to_config
    def __init__(
        self,
        latent_share: float = 0.5,
        max_latent_steps: int | None = None,
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
        check_ranges(self.config, STEP_RANGES, optional=("max_latent_steps",))
        self._leg_weights = [float(self.config.latent_share), 1 - float(self.config.latent_share)]
        self._walk(SEQUENTIAL)

    def steps_per_leg(self, num_steps: int) -> list[int]:
        """Divides `num_steps` by `latent_share`, with at most `max_latent_steps`. Raises `ValueError` below 2."""
        latent_steps, _ = super().steps_per_leg(num_steps)
        latent_steps = min(latent_steps, self.config.max_latent_steps or latent_steps)
        return [latent_steps, num_steps - latent_steps]
