"""Consistency of tokens: a prediction further along a run is the target of that at x_t.

Some masked tokens of x_t are revealed as they are in the text, which gives x_s at a time s < t. Given x_t, the exact
predictions at x_s average out to the exact one at x_t, so in expectation the KL from them is least where the
cross-entropy is. Its target is a law instead of a token drawn from it.

Related: SDTT (arXiv 2410.21035), Di4C (2410.08709), DiDi-Instruct (2509.25035), multi-path consistency (2605.00161).
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from .masked_channels import MaskedChannel
from .noising import NoisyLatents, NoisyTokens
from .objective import TrainingObjective
from .precision import at_least_float32
from .rng import RowGenerator


def tokens_further_along(
    channel: MaskedChannel, batch: NoisyTokens, objective: TrainingObjective, random: RowGenerator
) -> NoisyTokens:
    """Returns the batch at times s = (1 - u) t, with u drawn between the objective's jumps: some masked tokens are
    revealed as they are in the text, all others stay as they are."""
    least, largest = objective.consistency_min_jump, objective.consistency_max_jump
    t = batch.times.token_times
    s = t * (1 - least - (largest - least) * random.uniform())  # (B,)
    uniform = random.uniform(batch.masked.shape[1])
    masked = batch.masked & (uniform >= channel.reveal_probability(t, s)[:, None])
    noisy = torch.where(masked, channel.mask_id, batch.clean)
    return replace(batch, noisy=noisy, masked=masked, times=batch.times._replace(token_times=s))


def clean_latents(latents: NoisyLatents) -> NoisyLatents:
    """Returns the latents of the whole batch without noise, dropped and replaced ones too, and without inputs of a
    run."""
    clean = latents.encoded.clean.to(latents.noisy.dtype)
    return replace(latents.without_run(), noisy=clean, dropped=torch.zeros_like(latents.dropped), vectors=None)


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Returns the summands of KL(target || prediction) in nats: `(n, V)` logits of both to `(n, V)`.

    A category without probability in the target, such as the mask token, adds nothing.
    """
    target_log, log = (at_least_float32(one).log_softmax(-1) for one in (target, logits))
    impossible = target_log.isneginf()  # 0 log 0
    target_log, log = (one.masked_fill(impossible, 0) for one in (target_log, log))
    return F.kl_div(log, target_log, reduction="none", log_target=True)
