"""The bound on the negative log-likelihood (NELBO), an integral along a path of the time square. Paper, section 7."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .objective import Denoiser
from .randomness import RowGenerator
from .time_paths import TOKENS_ONLY, TimePath, time_path

# Positions on the path stay this far from its clean end, where the weight is infinite and nothing is masked.
_SMALLEST_POSITION = 1e-9


@dataclass
class Nelbo:
    """Bound of each example in nats, `(B,)` float64, its two parts apart.

    Attributes:
        token_nats: integral of the weighted token cross-entropy.
        latent_nats: the same of the latents. For discrete codes `total_nats` bounds -log p(x). For continuous latents
            with a deterministic encoder this part depends on the smallest noise: it is ELBO-style, no bound.
        token_stderr, latent_stderr: standard errors of the two over the drawn times (nan for a single one).
        num_tokens: tokens of each example, padding not counted.
    """

    token_nats: Tensor
    latent_nats: Tensor
    token_stderr: Tensor
    latent_stderr: Tensor
    num_tokens: Tensor

    @property
    def total_nats(self) -> Tensor:
        """Both parts together, `(B,)`."""
        return self.token_nats + self.latent_nats

    @property
    def nats_per_token(self) -> float:
        """The whole bound over all tokens of the batch."""
        return float(self.total_nats.sum() / self.num_tokens.sum())

    @property
    def perplexity(self) -> float:
        """exp(nats per token)."""
        return math.exp(self.nats_per_token)

    @property
    def bits_per_token(self) -> float:
        """Nats per token over ln 2: bits per character, where tokens are characters."""
        return self.nats_per_token / math.log(2)


@torch.no_grad()
def nelbo(
    denoiser: Denoiser,
    tokens: Tensor,
    maskable: Tensor,
    attention_mask: Tensor | None = None,
    path: str | TimePath = "joint",
    num_samples: int = 8,
    random: RowGenerator | None = None,
) -> Nelbo:
    """Estimates the bound at `num_samples` points of the path per example, spread evenly from a random start.

    Args:
        denoiser: the model.
        tokens: `(B, S)` clean tokens.
        maskable: `(B, S)` bool, the tokens that are scored.
        attention_mask: `(B, S)`, or `None` without padding.
        path: `joint`, `sequential` or a `TimePath`; without latents only the tokens' time exists.
        num_samples: points per example; each costs one evaluation of the denoiser.
        random: the examples' randomness; from torch's global generator, if not given.

    Raises `ValueError` for less than one sample.
    """
    if num_samples < 1:
        raise ValueError(f"`num_samples` is {num_samples}; give at least 1 point per example.")
    channel = denoiser.latent_channel
    route = TOKENS_ONLY if channel is None else time_path(path)
    random = random or RowGenerator.from_generator(None, len(tokens), tokens.device)
    clean = denoiser.encode(tokens, attention_mask).clean if channel is not None else tokens
    start = random.uniform()
    token_draws, latent_draws = [], []
    for sample in range(num_samples):
        position = ((start + sample) / num_samples).clamp(min=_SMALLEST_POSITION)
        t_x, t_y, token_rate, latent_rate = route.at(position)
        noised = denoiser.token_channel.add_noise(tokens, t_x, random.branch())
        masked = maskable & (noised == denoiser.token_channel.mask_id)
        latents = channel.add_noise(clean, t_y, random) if channel is not None else None
        scored = masked & (token_rate > 0)[:, None]
        output = denoiser.denoise(
            torch.where(masked, denoiser.token_channel.mask_id, tokens),
            latents,
            token_timesteps=t_x,
            latent_timesteps=None if latents is None else t_y,
            attention_mask=attention_mask,
            logits_mask=scored,
        )
        cross_entropy = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
        cross_entropy[scored] = F.cross_entropy(output.logits.double(), tokens[scored], reduction="none")
        weight = torch.where(token_rate > 0, token_rate * denoiser.token_channel.schedule.weight(t_x), 0.0)
        token_draws.append(weight * cross_entropy.sum(1))
        if channel is not None and latents is not None:
            moving = torch.where(latent_rate > 0, t_y, 1.0)
            integrand = channel.bound(output.latent_prediction, clean, latents, moving)
            latent_draws.append(torch.where(latent_rate > 0, latent_rate * integrand, 0.0))
    token_nats, token_stderr = _mean_and_error(torch.stack(token_draws))
    nothing = (torch.zeros_like(token_nats), torch.zeros_like(token_nats))
    latent_nats, latent_stderr = _mean_and_error(torch.stack(latent_draws)) if latent_draws else nothing
    return Nelbo(token_nats, latent_nats, token_stderr, latent_stderr, maskable.sum(1))


def _mean_and_error(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Mean over the points, and its standard error as if they were independent (spread evenly, they err less)."""
    error = draws.std(0, correction=1) if len(draws) > 1 else torch.full_like(draws[0], math.nan)
    return draws.mean(0), error / math.sqrt(len(draws))
