"""The training loss: one draw of noise, one call of the denoiser, the weighted sum of the terms. Paper, section 6."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor

from .continuous_latents import ContinuousLatents
from .denoiser import Denoiser, Encode, Teacher
from .loss_terms import LossInputs, loss_terms
from .meanflow import check_jumps, draw_jumps
from .noising import denoised, latents_to_learn, noise_latents, noise_tokens
from .objective import TrainingObjective
from .self_conditioning import self_conditions, self_estimate
from .step_counts import StepCounts
from .time_sampling import TrainingNoise


@dataclass
class LossParts:
    """The loss to differentiate, its unweighted terms, and statistics of the batch, all scalars.

    Attributes:
        total: the loss.
        evaluation: the denoiser's output, with token logits `(n, V)` where `masked` is true.
        masked: `(B, S)` bool.
        parts: the terms by name, without gradient.
        statistics: numbers to log beside them.
        time_moments: `(2, K)`, with adaptive times the sums of [`TimeDensity.moments`].
    """

    total: Tensor
    evaluation: Any
    masked: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)
    statistics: dict[str, Tensor] = field(default_factory=dict)
    time_moments: Tensor | None = None


def training_loss(
    denoiser: Denoiser,
    tokens: Tensor,
    maskable: Tensor,
    attention_mask: Tensor | None,
    objective: TrainingObjective,
    noise: TrainingNoise,
    encode: Encode | None = None,
    counts: StepCounts | None = None,
    teacher: Teacher | None = None,
) -> LossParts:
    """Draws the training loss once.

    Every term is a sum over the batch divided by the count of its kind over the whole optimiser step, so that the
    losses of accumulated batches add up to the loss of one large batch, however it is cut. InfoNCE alone depends on
    the cut: an example's negatives are those of its own batch.

    Args:
        denoiser: the model.
        tokens: `(B, S)` clean tokens.
        maskable: `(B, S)` bool, the tokens to noise and to score: not padding, not a prompt.
        attention_mask: `(B, S)`, or `None` without padding.
        objective: the terms and their weights.
        noise: the examples' randomness.
        encode: in place of the denoiser's own, such as one with precomputed latents bound into it.
        counts: of the optimiser step; of this batch alone, if not given.
        teacher: what the terms of consistency and MeanFlow aim at; the denoiser itself, if not given.

    Raises `ValueError` for `meanflow_share` with a denoiser that has no jumps.
    """
    random, latents = noise.generator(), None
    channel = None if objective.tokens_alone else denoiser.latent_channel
    batch = noise_tokens(denoiser.token_channel, tokens, maskable, attention_mask, objective, noise, random)
    dropped = noise.drops_latents(objective.latent_dropout)
    if counts is None:
        counts = StepCounts.of_batch(maskable, dropped)
    targets = jumps = None
    if channel is not None and objective.has_jumps:
        check_jumps(denoiser, objective)
        aside = random.aside().aside()  # of the one that noising takes from here
        batch, targets = draw_jumps(batch, dropped, objective, aside)
        jumps = targets < batch.times.latent_times
    if channel is not None:
        latents = noise_latents(denoiser, channel, batch, dropped, objective, random, encode)
        if targets is not None and jumps is not None:  # noising may have moved the times of the others
            latents.targets = torch.where(jumps, targets, batch.times.latent_times)
        if self_conditions(denoiser) and objective.latent_loss_weight:  # without weight nothing teaches the estimate
            latents.estimate = self_estimate(denoiser, cast(ContinuousLatents, channel), batch, latents, random)
    learnt = latents_to_learn(denoiser, batch, latents)
    output = denoised(denoiser, batch, latents, batch.noisy, batch.times.token_times, learnt)
    inputs = LossInputs(denoiser, batch, latents, output, objective, counts, random, teacher or denoiser)
    terms = loss_terms(inputs)
    parts = {name: term.total / term.divisor.to(term.total) for name, term in terms.items()}
    # A term without weight is left out, so that what only it would teach gets no gradient and the optimiser no history.
    weights = {name: term.weight for name, term in terms.items() if term.weight}
    start = torch.zeros_like(terms["token_loss"].total)
    loss = sum((weight * parts[name] for name, weight in weights.items()), start=start)
    statistics = {}
    if latents is not None and latents.encoded.codes is not None:
        statistics["codes_in_batch"] = _distinct(latents.encoded.codes)
    moments = None
    if batch.density is not None and batch.positions is not None:
        moments = batch.density.moments(batch.positions, torch.stack(inputs.of_examples).sum(0))
    parts = {name: part.detach() for name, part in parts.items()}
    return LossParts(loss, output, batch.masked, parts, statistics, moments)


def _distinct(codes: Tensor) -> Tensor:
    """Counts the different codes of a batch, without waiting for the device."""
    ordered = codes.flatten().sort().values
    return 1 + (ordered.diff() != 0).sum().float()
