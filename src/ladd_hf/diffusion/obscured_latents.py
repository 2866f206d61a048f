"""Latents that tokens cannot rely on while an encoder is trained: noisy, partly hidden, or of no text at all.

An encoder whose latents are always read as they are packs into each of them what decodes best, which no prior may be
able to generate; DiLaDiff (arXiv 2605.23605) and LDLM (arXiv 2605.07933) decode worse on purpose and generate better.
Not the paper's.

All of this is done only to examples in which the tokens move and the latents rest, as in a stage `encoder` or on the
second leg of a sequential run: elsewhere it would change what the prior over latents is trained to predict.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from .channels import EncodedLatents, LatentChannel
from .denoiser import CodedDenoiser, Denoiser
from .objective import TrainingObjective
from .paths import TimePoints
from .rng import RowGenerator


def later_latents(times: TimePoints, objective: TrainingObjective, random: RowGenerator) -> TimePoints:
    """Returns the times with those of resting latents drawn evenly up to `latent_noise_time`; later ones stay."""
    if not objective.latent_noise_time:
        return times
    drawn = (objective.latent_noise_time * random.uniform()).to(times.latent_times)  # (B,)
    later = torch.maximum(times.latent_times, drawn)
    return times._replace(latent_times=torch.where(times.latent_rates == 0, later, times.latent_times))


def obscured(
    denoiser: Denoiser,
    channel: LatentChannel,
    encoded: EncodedLatents,
    noisy: Tensor,
    resting: Tensor,
    objective: TrainingObjective,
    random: RowGenerator,
) -> tuple[Tensor, Tensor | None]:
    """Replaces the latents of some examples, `latent_replacement_share` of them, by others of no text, and hides single
    ones of the rest, each with probability `latent_mask_share`. The network is not told.

    Args:
        denoiser: the model, which knows the vectors of codes.
        channel: of the latents.
        encoded: the clean latents.
        noisy: `(B, M, D)` latents or `(B, M)` codes at their times.
        resting: `(B,)` bool, the examples whose latents are given to their tokens and have no loss.
        objective: the shares.
        random: the examples' randomness.

    Returns what the tokens see, and the vectors of its codes, `(B, M, D)`, `None` where no codes are replaced.
    """
    others = resting & (random.uniform() < objective.latent_replacement_share)  # (B,)
    hidden = (resting & ~others)[:, None] & (random.uniform(noisy.shape[1]) < objective.latent_mask_share)  # (B, M)
    vectors = None
    if objective.latent_replacement_share:
        drawn = channel.unrelated(noisy, random)
        places = others[:, None] & channel.seen(noisy)
        noisy = _where(places, drawn, noisy)
        if encoded.codes is not None:
            unrelated = cast(CodedDenoiser, denoiser).code_vectors(drawn).detach().to(encoded.vectors)
            vectors = _where(places, unrelated, encoded.vectors)
    return _where(hidden, channel.dropped(noisy), noisy), vectors


def obscures(objective: TrainingObjective) -> bool:
    """True if some latents are hidden or replaced."""
    return bool(objective.latent_mask_share or objective.latent_replacement_share)


def _where(places: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Returns `one` at some places `(B, M)`, and `other` elsewhere, each `(B, M)` or `(B, M, D)`."""
    return torch.where(places.view(*places.shape, *(1 for _ in other.shape[2:])), one, other)
