"""Latents first, then tokens: two sides of the time square."""

from __future__ import annotations

from typing import Any

from diffusers import SchedulerMixin
from diffusers.configuration_utils import register_to_config

from ..diffusion.paths import SEQUENTIAL, TimePath
from ..utils.number_ranges import NumberRange, check_ranges, whole
from ..utils.rounding import round_half_up
from .scheduling_ladd import LaddScheduler

# What each option about steps may be.
STEP_RANGES = {
    "latent_share": NumberRange(
        "a share of the steps between 0 and 1", least=0, most=1, without_ends=("least", "most")
    ),
    "max_latent_steps": whole(1, "a whole number of at least 1, or None for no limit"),
}


class LaddSequentialScheduler(LaddScheduler, SchedulerMixin):  # diffusers looks for this base by name
    """Denoises the latents with every token masked (t_x = 1), then the tokens with clean latents (t_y = 0).

    Args:
        latent_share: share of the steps that goes to the latents, rounded (half a step up), at least one step for
            each of the two.
        max_latent_steps: no more than so many go to the latents; one is exact where the latent is a single code.
        timestep_spacing, latent_solver, unmasking, remasking, remasking_rate, mask_token_id, pad_token_id,
            tokenizer_size, token_noise_schedule, latent_type, latent_dim, codebook_size, latent_noise_schedule,
            latent_prediction_type: as in [`LaddJointScheduler`].
    """

    @register_to_config
    def __init__(
        self,
        latent_share: float = 0.5,
        max_latent_steps: int | None = None,
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
        check_ranges(self.config, STEP_RANGES, optional=("max_latent_steps",))
        self._setup()

    @property
    def path(self) -> TimePath:
        """The side of the latents, then the side of the tokens."""
        return SEQUENTIAL

    def steps_per_leg(self, num_steps: int) -> list[int]:
        """`latent_share` of them for the latents, at most `max_latent_steps`. Raises `ValueError` below 2."""
        if num_steps < 2:
            raise ValueError(
                f"`num_steps` is {num_steps}, but the sequential schedule needs at least 2: one evaluation for the "
                "latents and one for the tokens. Give more steps, or use the joint schedule."
            )
        latent_steps = min(max(round_half_up(self.config.latent_share * num_steps), 1), num_steps - 1)
        latent_steps = min(latent_steps, self.config.max_latent_steps or latent_steps)
        return [latent_steps, num_steps - latent_steps]
