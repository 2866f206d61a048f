"""Noise of tokens and latents as a scheduler's process adds it: where runs start, and what training sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..diffusion.channels import LatentChannel
from ..diffusion.masked_channels import MaskedChannel
from ..diffusion.rng import Generators, RowGenerator
from ..utils.wrong_objects import described


class NoiseAdding:
    """Part of a scheduler with a noise process: noise for clean tokens and latents, and latents that are noise."""

    if TYPE_CHECKING:
        _tokens: MaskedChannel
        _latents: LatentChannel | None

    def prior_latents(self, latent_length: int, generator: Generators, batch_size: int) -> Tensor | None:
        """Returns latents at t_y = 1: normal noise `(B, M, D)`, mask codes `(B, M)`, or `None` without latents."""
        if self._latents is None:
            return None
        return self._latents.prior(latent_length, RowGenerator.from_generator(generator, batch_size))

    def dropped_latents(self, latents: Tensor) -> Tensor:
        """Returns latents without information in the shape of `latents`, for guidance: zeros or mask codes."""
        return self._channel().dropped(latents)

    def check_latents(self, latents: Tensor, batch_size: int, latent_length: int) -> None:
        """Raises `ValueError` unless `latents` are clean latents of this kind for the batch."""
        self._channel().check(latents, batch_size, latent_length)

    def add_noise(
        self,
        original_samples: Tensor,
        timesteps: Tensor,
        generator: Generators = None,
        prompt_mask: Tensor | None = None,
    ) -> Tensor:
        """Masks clean tokens `(B, S)` to the times `timesteps` in [0, 1], `(B,)` or a scalar.

        Tokens where `prompt_mask` is true, `(B, S)` or `(S,)` bool, stay visible; the others are masked as without it.
        Raises `ValueError` for times outside of [0, 1] and for a mask that does not fit the tokens.
        """
        self._check_mask()
        random, times = self._noising(original_samples, timesteps, generator)
        noisy = self._tokens.add_noise(original_samples, times, random)
        if prompt_mask is None:
            return noisy
        return torch.where(_checked(prompt_mask, original_samples), original_samples, noisy)

    def add_latent_noise(self, latents: Tensor, timesteps: Tensor, generator: Generators = None) -> Tensor:
        """Noises clean latents to the times `timesteps` in [0, 1], `(B,)` or a scalar."""
        random, times = self._noising(latents, timesteps, generator)
        return self._channel().add_noise(latents, times, random)

    def _channel(self) -> LatentChannel:
        if self._latents is None:
            raise ValueError("There are no latents here (`latent_type` 'none'): use a model that has them.")
        return self._latents

    def _check_mask(self) -> None:
        if self._tokens.mask_id is None:
            raise ValueError(
                "The scheduler does not know the mask token: give a `noise_process` with `mask_token_id`, or take the "
                "model's with `scheduler.for_model(model.config)`."
            )

    def _noising(self, clean: Tensor, timesteps: Tensor, generator: Generators) -> tuple[RowGenerator, Tensor]:
        times = torch.as_tensor(timesteps, dtype=torch.float64, device=clean.device)
        if times.numel() and not 0 <= float(times.min()) <= float(times.max()) <= 1:
            raise ValueError(
                f"`timesteps` run from {float(times.min())} to {float(times.max())}; noise is added at times from 0 "
                "(clean) to 1 (pure noise)."
            )
        return RowGenerator.from_generator(generator, len(clean), clean.device), times.expand(len(clean))


def _checked(prompt_mask: Tensor, tokens: Tensor) -> Tensor:
    """Returns the mask on the device of the tokens. Raises `ValueError` unless it is one of booleans in their shape."""
    is_tensor = isinstance(prompt_mask, Tensor)
    if not is_tensor or prompt_mask.dtype != torch.bool or prompt_mask.shape not in (tokens.shape, tokens.shape[1:]):
        given = (
            f"has shape {tuple(prompt_mask.shape)} and dtype {prompt_mask.dtype}"
            if is_tensor
            else (f"is {described(prompt_mask)}")
        )
        raise ValueError(
            f"`prompt_mask` {given}; give a bool tensor of shape {tuple(tokens.shape)} or {tuple(tokens.shape[1:])}, "
            "True where a token stays visible."
        )
    return prompt_mask.to(tokens.device)
