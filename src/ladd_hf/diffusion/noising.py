"""One draw of noise for a batch of training: tokens and latents at their times, and the denoiser's answer to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from .channels import EncodedLatents, LatentChannel
from .denoiser import Denoiser, Encode, Teacher
from .latents_alone import LatentsAlone
from .masked_channels import MaskedChannel
from .objective import TrainingObjective
from .obscured_latents import later_latents, obscured, obscures
from .paths import INDEPENDENT, TimePoints
from .rng import RowGenerator
from .time_density import TimeDensity
from .time_sampling import TrainingNoise, draw_times


@dataclass
class NoisyTokens:
    """Tokens of a batch at their drawn times: ids and masks `(B, S)`; with adaptive times also their density, the
    positions that it gave, and the weights of the examples, `(B,)` each.

    `masked` are those that logits are asked for: the masked ones of all rows that are evaluated with their tokens.
    """

    clean: Tensor
    maskable: Tensor
    attention_mask: Tensor | None
    noisy: Tensor
    masked: Tensor
    times: TimePoints
    density: TimeDensity | None = None
    positions: Tensor | None = None
    importance: Tensor | None = None


@dataclass
class NoisyLatents:
    """Latents of a batch at their times: encoded, noisy `(B, M)` or `(B, M, D)`, and the dropped examples `(B,)`; and
    of a model that has them as inputs the estimate of y_0, `(B, M, D)`, zero where there is none, and the times that
    steps lead to, `(B,)`, the latents' own where there is no jump; where codes are replaced for tokens also the vectors
    of what they see, `(B, M, D)`."""

    encoded: EncodedLatents
    noisy: Tensor
    dropped: Tensor
    estimate: Tensor | None = None
    targets: Tensor | None = None
    vectors: Tensor | None = None

    def without_run(self) -> NoisyLatents:
        """Returns the latents as an evaluation has them that is no step of a run."""
        return replace(self, estimate=None, targets=None)


def noise_tokens(
    channel: MaskedChannel,
    tokens: Tensor,
    maskable: Tensor,
    attention_mask: Tensor | None,
    objective: TrainingObjective,
    noise: TrainingNoise,
    random: RowGenerator,
) -> NoisyTokens:
    """Draws the times of a batch and masks its tokens to them."""
    positions = noise.positions()
    adapted: dict[str, Any] = {}
    if objective.adaptive_times:
        density = noise.density or TimeDensity.even(positions.device)
        # the number that draws t_y, or both times
        column = int(objective.time_distribution == INDEPENDENT and not objective.tokens_alone)
        drawn, importance = density.warped(positions[:, column])
        positions = torch.stack([drawn if place == column else positions[:, place] for place in range(2)], dim=1)
        adapted = {"density": density, "positions": drawn, "importance": importance}
    times = draw_times(objective.time_distribution, positions, objective.min_time, objective.time_shift)
    full = random.uniform() < objective.fully_masked_share  # (B,)
    token_times, token_rates = (torch.where(full, 1.0, one) for one in (times.token_times, times.token_rates))
    times = times._replace(token_times=token_times, token_rates=token_rates)
    masked = maskable & (channel.add_noise(tokens, times.token_times, random.branch()) == channel.mask_id)
    noisy = torch.where(masked, channel.mask_id, tokens)
    return NoisyTokens(tokens, maskable, attention_mask, noisy, masked, times, **adapted)


def noise_latents(
    denoiser: Denoiser,
    channel: LatentChannel,
    batch: NoisyTokens,
    dropped: Tensor,
    objective: TrainingObjective,
    random: RowGenerator,
    encode: Encode | None,
) -> NoisyLatents:
    """Encodes the batch's tokens, some of them hidden, and noises or drops the latents (t_y = 1), or makes them less
    reliable to tokens."""
    aside = random.aside()  # so that what is off changes no other draw
    batch.times = later_latents(batch.times, objective, aside)
    hiding = objective.encoder_corruption * random.uniform(1)  # (B, 1)
    hidden = batch.masked & (random.branch().uniform(batch.clean.shape[1]) < hiding)
    if objective.encoder_mask_ratio:
        unseen = random.branch().uniform(batch.clean.shape[1]) < objective.encoder_mask_ratio
        hidden = hidden | (batch.maskable & unseen)
    encoder_input = torch.where(hidden, denoiser.token_channel.mask_id, batch.clean)
    noise: dict[str, Any] = {"feature_noise": objective.encoder_noise} if objective.encoder_noise else {}
    encoded = (encode or denoiser.encode)(encoder_input, batch.attention_mask, random, **noise)
    noisy = channel.add_noise(encoded.clean, batch.times.latent_times, random)
    noisy = torch.where(dropped.view(-1, *(1 for _ in noisy.shape[1:])), channel.dropped(noisy), noisy)
    batch.times = batch.times._replace(latent_times=torch.where(dropped, 1.0, batch.times.latent_times))
    if encoded.unquantized is not None and objective.quantizer_dropout:
        unrounded = random.uniform(1, 1) < objective.quantizer_dropout  # (B, 1, 1)
        encoded.vectors = torch.where(unrounded, encoded.unquantized, encoded.vectors)
    vectors = None
    if obscures(objective):
        resting = (batch.times.latent_rates == 0) & ~dropped
        noisy, vectors = obscured(denoiser, channel, encoded, noisy, resting, objective, aside)
    return NoisyLatents(encoded, noisy, dropped, vectors=vectors)


def latents_to_learn(denoiser: Denoiser, batch: NoisyTokens, latents: NoisyLatents | None) -> Tensor | None:
    """Returns the rows whose prediction of latents has a loss, `(B,)` bool, `None` without latents.

    Rows of latents alone, whose tokens have no loss, are taken out of `batch.masked`.
    """
    if latents is None:
        return None
    times, alone = batch.times, LatentsAlone.of(denoiser)
    learnt = (times.latent_rates > 0) & ~latents.dropped
    if alone.when == "masked":
        rows = alone.rows(batch.noisy, batch.attention_mask, times.token_times, times.latent_times, learnt)
        batch.masked = batch.masked & ~(rows & (times.token_rates == 0))[:, None]
    return learnt


def denoised(
    denoiser: Teacher,
    batch: NoisyTokens,
    latents: NoisyLatents | None,
    noisy_tokens: Tensor,
    token_times: Tensor,
    latents_learnt: Tensor | None = None,
) -> Any:
    """Evaluates the denoiser once, with logits at the masked positions.

    `latents_learnt` `(B,)` are the rows whose prediction of latents is used; without it only tokens are asked for.
    """
    of_latents: dict[str, Tensor] = {}
    if latents is not None:
        of_latents = {"latent_timesteps": batch.times.latent_times}
        if latents.estimate is not None:
            of_latents["latent_estimate"] = latents.estimate
        if latents.targets is not None:
            of_latents["latent_target_timesteps"] = latents.targets
        if latents.encoded.codes is not None:
            seen = latents.encoded.vectors if latents.vectors is None else latents.vectors
            of_latents["latent_vectors"] = seen
    options = {
        "token_timesteps": token_times,
        "attention_mask": batch.attention_mask,
        "logits_mask": batch.masked,
        **of_latents,
    }
    noisy = None if latents is None else latents.noisy
    if latents_learnt is None:
        return denoiser.denoise(noisy_tokens, noisy, **options)
    alone = LatentsAlone.of(cast(Denoiser, denoiser))  # which has channels
    return alone.evaluate(denoiser.denoise, noisy_tokens, noisy, latents_learnt, in_step=True, **options)


def latents_at(
    denoiser: Denoiser, batch: NoisyTokens, rows: Tensor, noisy: Tensor, times: Tensor, **options: Tensor
) -> Any:
    """Evaluates some rows of a batch for their latents alone, with the batch's noisy tokens.

    Args:
        denoiser: evaluated without tokens where it is trained so.
        batch: whose tokens are seen.
        rows: numbers of the rows, `(n,)`.
        noisy, times: their latents, `(n, M, D)`, at times `(n,)`.
        options: of the call, further inputs of the latents.
    """
    options = {"token_timesteps": batch.times.token_times[rows], "latent_timesteps": times, **options}
    alone = LatentsAlone.of(denoiser)
    if alone.when == "always":
        return denoiser.denoise(None, noisy, **options)
    tokens = batch.noisy[rows]
    mask = None if batch.attention_mask is None else batch.attention_mask[rows]
    nothing = torch.zeros_like(tokens, dtype=torch.bool)
    return alone.evaluate(
        denoiser.denoise, tokens, noisy, in_step=True, attention_mask=mask, logits_mask=nothing, **options
    )
