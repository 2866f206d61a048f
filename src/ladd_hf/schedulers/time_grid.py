"""The grid of a run: points of the time square, and the steps between them."""

from __future__ import annotations

import itertools
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..diffusion.channels import LatentChannel
from ..diffusion.masked_channels import MaskedChannel
from ..diffusion.paths import TOKENS_ONLY, Point
from ..utils.wrong_objects import check_number
from .remasking import Remasking
from .unmasking import TokenStep, Unmasking


class TimeGrid:
    """Part of a scheduler with a path: the steps of a run on it."""

    timesteps: Tensor
    num_inference_steps: int | None
    token_times: Tensor
    latent_times: Tensor
    _grid: list[Point]
    _token_steps: list[TokenStep | None]

    if TYPE_CHECKING:
        config: Any
        _tokens: MaskedChannel
        _latents: LatentChannel | None
        _unmasking: Unmasking
        _remasking: Remasking
        _spacing: Any
        path: Any

        def steps_per_leg(self, num_steps: int) -> list[int]: ...

    def set_timesteps(
        self,
        num_inference_steps: int,
        device: torch.device | str | None = None,
        latent_time: float = 1.0,
        num_tokens: int | None = None,
    ) -> None:
        """Sets the time grid: `num_inference_steps` steps on the path, one denoiser evaluation each.

        Args:
            num_inference_steps: number of steps.
            device: device of `timesteps`.
            latent_time: t_y at which the latents start: 1 for noise, 0 for given latents, in between for given latents
                with noise. At 0, or for a model without latents, all steps go to the tokens.
            num_tokens: largest number of tokens to write in a row; on legs where only tokens change, `first_hitting`
                makes no more steps than that.

        Raises `ValueError` for fewer steps than 1 or than legs, and for a time outside [0, 1].
        """
        whole = isinstance(num_inference_steps, Integral) and not isinstance(num_inference_steps, bool)
        if not whole or num_inference_steps < 1:
            raise ValueError(
                f"`num_steps` is {num_inference_steps!r}; give a whole number of denoiser evaluations, at least 1."
            )
        check_number("`latent_time`", latent_time)
        if not 0 <= latent_time <= 1:
            raise ValueError(f"`latent_time` is {latent_time}; give a time from 0 (clean) to 1 (pure noise).")
        start = 0.0 if self._latents is None else float(latent_time)
        self._grid = self._points(int(num_inference_steps), start, num_tokens)
        self._token_steps = self._planned_token_steps()
        self.num_inference_steps = len(self._grid) - 1
        self.timesteps = torch.arange(self.num_inference_steps, device=device)
        token_times, latent_times = zip(*self._grid, strict=True)
        self.token_times = torch.tensor(token_times, dtype=torch.float32, device=device)
        self.latent_times = torch.tensor(latent_times, dtype=torch.float32, device=device)

    def run(self, num_steps: int, latent_time: float = 1.0) -> list[Point]:
        """Returns the points (t_x, t_y) of a run, first to last, as `nelbo(run=...)` takes them.

        `latent_time` is the time at which latents start. Raises `ValueError` for too few steps.
        """
        return self._points(num_steps, latent_time if self._latents is not None else 0.0, None)

    def _points(self, num_steps: int, latent_time: float, num_tokens: int | None) -> list[Point]:
        """Returns the points (t_x, t_y) of a run, first to last; `latent_time` is 0 without latents."""
        path, steps = TOKENS_ONLY, [num_steps]
        if latent_time > 0:
            path, steps = self.path.starting_at(latent_time, self.steps_per_leg(num_steps))
        if num_tokens is not None and self._unmasking.one_evaluation_per_token:
            tokens_alone = [start[1] == end[1] for start, end in path.legs]
            steps = [min(n, max(num_tokens, 1)) if alone else n for n, alone in zip(steps, tokens_alone, strict=True)]
        return path.grid(steps, self._spacing)

    def times(self, timestep: int | Tensor) -> tuple[Tensor, Tensor]:
        """Returns t_x and t_y at the start of a step, `(1,)` each, broadcast over the batch by the model."""
        index = self._index(timestep)
        return self.token_times[index : index + 1], self.latent_times[index : index + 1]

    def moves_tokens(self, timestep: int | Tensor) -> bool:
        """Returns True if the step can reveal tokens: t_x decreases."""
        (t_x, _), (s_x, _) = self._interval(timestep)
        return s_x < t_x

    def moves_latents(self, timestep: int | Tensor) -> bool:
        """Returns True if the step changes latents: t_y decreases."""
        (_, t_y), (_, s_y) = self._interval(timestep)
        return s_y < t_y

    def _planned_token_steps(self) -> list[TokenStep | None]:
        """Plans the tokens' part of all steps of the grid, in time linear in the number of steps."""
        times = [t_x for t_x, _ in self._grid]
        alphas = [self._tokens.alpha_at(time) for time in times]
        left = sum(s_x < t_x for t_x, s_x in itertools.pairwise(times))  # steps in which tokens can still change
        plan: list[TokenStep | None] = []
        for (t_x, alpha_t), (s_x, alpha_s) in itertools.pairwise(zip(times, alphas, strict=True)):
            if s_x == t_x:
                plan.append(None)
                continue
            plan.append(TokenStep(t_x, s_x, left, self._remasking(alpha_t, alpha_s)))
            left -= 1
        return plan

    def _interval(self, timestep: int | Tensor) -> tuple[Point, Point]:
        index = self._index(timestep)
        return self._grid[index], self._grid[index + 1]

    def _index(self, timestep: int | Tensor) -> int:
        index = int(timestep)
        if not self._grid:
            raise ValueError("The scheduler has no steps yet: call `set_timesteps(num_steps)` first.")
        if not 0 <= index < len(self._grid) - 1:
            raise ValueError(f"Step {index} does not exist; `timesteps` run from 0 to {len(self._grid) - 2}.")
        return index
