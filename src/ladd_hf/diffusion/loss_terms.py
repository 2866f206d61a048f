"""The terms of the training loss, one function each. Paper, section 6.

A term of one's own is a function of [`LossInputs`] and a name: `register_loss_term("name")` above it, and its weight in
the objective's `extra_loss_terms`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from .average_velocity import damped, velocity_error
from .consistency import clean_latents, divergence, tokens_further_along
from .continuous_latents import ContinuousLatents
from .denoiser import Denoiser, Teacher
from .meanflow import distilled, jump_rows
from .noising import NoisyLatents, NoisyTokens, denoised
from .objective import LOSS_TERMS, TrainingObjective
from .precision import at_least_float32
from .rng import RowGenerator
from .step_counts import StepCounts
from .terms import latent_terms, token_weights


@dataclass
class LossInputs:
    """One draw of noise, and what the denoiser predicts from it.

    Attributes:
        denoiser: the model.
        batch: clean and noisy tokens.
        latents: the same of the latents, `None` without.
        output: the denoiser's, with `logits` `(n, V)` where `batch.masked` and `latent_prediction`.
        objective: the settings.
        counts: tokens and examples of the whole optimiser step, which sums over the batch are divided by.
        random: the examples' randomness.
        teacher: the denoiser that the terms of consistency and MeanFlow aim at.
        of_examples: with adaptive times, the examples' losses of both channels, `(B,)` each, filled by their terms.
            A term of one's own weighs its examples by `batch.importance`.
    """

    denoiser: Denoiser
    batch: NoisyTokens
    latents: NoisyLatents | None
    output: Any
    objective: TrainingObjective
    counts: StepCounts
    random: RowGenerator
    teacher: Teacher
    of_examples: list[Tensor] = field(default_factory=list)


class Term(NamedTuple):
    """A term of the loss: its sum over the batch, the count it is divided by, and its weight."""

    total: Tensor
    divisor: Tensor
    weight: float


def loss_terms(inputs: LossInputs) -> dict[str, Term]:
    """Computes the terms that the objective and the model have, by name; the registered ones last."""
    terms = {"token_loss": Term(token_loss(inputs), inputs.counts.tokens, inputs.objective.token_loss_weight)}
    if inputs.latents is not None:
        terms |= _terms_of_latents(inputs, inputs.latents)
    if weight := inputs.objective.consistency_weight:
        terms["consistency_loss"] = Term(consistency_loss(inputs), inputs.counts.tokens, weight)
    for name, weight in (inputs.objective.extra_loss_terms or {}).items():
        total, count = LOSS_TERMS[name](inputs)
        terms[name] = Term(total, count, weight)
    return terms


def _terms_of_latents(inputs: LossInputs, latents: NoisyLatents) -> dict[str, Term]:
    objective, counts, terms = inputs.objective, inputs.counts, {}
    terms["latent_loss"] = Term(
        latent_loss(inputs, latents), counts.examples_with_latents, objective.latent_loss_weight
    )
    if latents.targets is not None:
        jumps = meanflow_loss(inputs, latents)
        terms["meanflow_loss"] = Term(jumps, counts.examples_with_latents, objective.latent_loss_weight)
    if latents.encoded.codes is not None:
        commitment = latents.encoded.commitment_loss * len(inputs.batch.clean)
        terms["commitment_loss"] = Term(commitment, counts.examples, 1.0)
    elif objective.latent_kl_weight:
        terms["latent_kl_loss"] = Term(latents.encoded.kl.sum(), counts.examples, objective.latent_kl_weight)
    if objective.contrastive_weight:
        terms["contrastive_loss"] = Term(contrastive_loss(inputs), counts.examples, objective.contrastive_weight)
    if weight := objective.conditional_independence_weight:
        divergence = conditional_independence_loss(inputs, latents)
        terms["conditional_independence_loss"] = Term(divergence, counts.tokens, weight)
    return terms


def token_loss(inputs: LossInputs) -> Tensor:
    """Sums L_x: cross-entropy at the masked positions."""
    channel, batch = inputs.denoiser.token_channel, inputs.batch
    cross_entropy = channel.cross_entropy(inputs.output.logits, batch.clean[batch.masked])  # (n,)
    losses = _weights_at(inputs, batch.masked).to(cross_entropy) * cross_entropy
    if batch.importance is not None:
        found = torch.zeros(batch.masked.shape, dtype=torch.float64, device=losses.device)
        found = found.masked_scatter(batch.masked, losses.detach().double()).sum(1) / batch.importance
        share = inputs.objective.token_loss_weight / batch.maskable.sum(1).clamp(min=1)
        inputs.of_examples.append(share * found)
    return losses.sum()


def consistency_loss(inputs: LossInputs) -> Tensor:
    """Sums the KL from the teacher's prediction at x_s, s < t, which the true text has led to, to that at x_t, at the
    tokens masked in both, each weighted as its cross-entropy is."""
    batch, random = inputs.batch, inputs.random.aside()
    latents = None if inputs.latents is None else replace(inputs.latents, targets=None)
    further = tokens_further_along(inputs.denoiser.token_channel, batch, inputs.objective, random)
    if latents is not None and inputs.objective.consistency_clean_latents:
        latents = clean_latents(latents)
        times = further.times
        further.times = times._replace(latent_times=torch.zeros_like(times.latent_times))
    # After the student: weights that autocast casts here first have no gradient there before torch 2.11
    # (pytorch/pytorch#165068).
    with torch.no_grad():
        target = denoised(inputs.teacher, further, latents, further.noisy, further.times.token_times).logits
    student = inputs.output.logits[further.masked[batch.masked]]  # (m, V)
    divergences = divergence(target, student).sum(-1)  # (m,)
    return (_weights_at(inputs, further.masked).to(divergences) * divergences).sum()


def _weights_at(inputs: LossInputs, places: Tensor) -> Tensor:
    """Returns the weights of the tokens at some places, `(B, S)` bool to `(n,)` float64: the bound's, or ones where the
    tokens' time changes, times the examples' importance."""
    channel, times = inputs.denoiser.token_channel, inputs.batch.times
    elbo = inputs.objective.token_weighting == "elbo"
    weight = token_weights(channel, times) if elbo else (times.token_rates > 0).double()  # (B,)
    if inputs.batch.importance is not None:
        weight = weight * inputs.batch.importance
    return weight[:, None].expand(places.shape)[places]


def latent_loss(inputs: LossInputs, latents: NoisyLatents) -> Tensor:
    """Sums L_y over the examples that keep their latents, and do not jump: squared error, or cross-entropy over masked
    codes."""
    channel, objective, times = inputs.denoiser.latent_channel, inputs.objective, inputs.batch.times
    assert channel is not None
    clean, prediction = latents.encoded.clean, inputs.output.latent_prediction
    if not objective.latent_target_gradient:
        clean = clean.detach()
    if objective.latent_weighting == "elbo":
        loss = latent_terms(channel, prediction, clean, latents.noisy, times) / clean.shape[1]
    else:
        loss = (times.latent_rates > 0) * channel.loss(prediction, clean, latents.noisy, times.latent_times)
    loss = loss * ~latents.dropped * ~jump_rows(inputs.batch, latents)
    if (importance := inputs.batch.importance) is not None:
        inputs.of_examples.append(objective.latent_loss_weight * loss.detach().double())
        loss = loss * importance
    total = loss.sum()
    return total.to(at_least_float32(prediction).dtype)  # the bound's weights are float64


def meanflow_loss(inputs: LossInputs, latents: NoisyLatents) -> Tensor:
    """Sums the squared error of average velocities over the examples that jump, each damped by its own size."""
    channel, batch, objective = inputs.denoiser.latent_channel, inputs.batch, inputs.objective
    predicted = cast(ContinuousLatents, channel).estimate(
        inputs.output.latent_prediction, latents.noisy, batch.times.latent_times
    )
    # After the student: weights that autocast casts here first have no gradient there before torch 2.11
    # (pytorch/pytorch#165068).
    rows, target, jump = distilled(inputs.denoiser, inputs.teacher, batch, latents, objective)
    error = velocity_error(predicted[rows], target, jump)
    return (damped(error, objective.meanflow_damping) * jump_rows(batch, latents)[rows]).sum()


def contrastive_loss(inputs: LossInputs) -> Tensor:
    """Sums InfoNCE with in-batch negatives: two maskings of a text have latents more alike than two texts."""
    denoiser, batch, objective = inputs.denoiser, inputs.batch, inputs.objective
    views = []
    for _ in range(2):
        uniform = inputs.random.branch().uniform(batch.clean.shape[1])
        hidden = batch.maskable & (uniform < objective.contrastive_mask_ratio)
        view = torch.where(hidden, denoiser.token_channel.mask_id, batch.clean)
        encoded = denoiser.encode(view, batch.attention_mask, inputs.random, update_codebook=False)
        views.append(F.normalize(at_least_float32(encoded.vectors.mean(1)), dim=-1))  # (B, D)
    similarity = views[0] @ views[1].T / objective.contrastive_temperature  # (B, B)
    own = torch.arange(len(similarity), device=similarity.device)
    both = torch.stack([F.cross_entropy(x, own, reduction="sum") for x in (similarity, similarity.T)])
    return both.mean()


def conditional_independence_loss(inputs: LossInputs, latents: NoisyLatents) -> Tensor:
    """Sums the KL from the prediction given (x_t, y_t), held fixed, to the one given y_t with every token masked."""
    batch = inputs.batch
    all_masked = torch.where(batch.maskable, inputs.denoiser.token_channel.mask_id, batch.clean)
    ones = torch.ones_like(batch.times.token_times)
    latents = latents.without_run()  # whose estimate knows of the visible tokens
    blind = denoised(inputs.denoiser, batch, latents, all_masked, ones).logits  # (n, V)
    divergences = divergence(inputs.output.logits.detach(), blind)
    if batch.importance is not None:
        importance = batch.importance[:, None].expand(batch.masked.shape)[batch.masked]  # (n,)
        divergences = divergences * importance.to(divergences)[:, None]
    return divergences.sum()
