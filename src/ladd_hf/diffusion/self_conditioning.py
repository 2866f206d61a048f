"""Self-conditioning of continuous latents in training: half of the examples have the y_0 that an evaluation without
gradient predicts as a further input. Chen et al., arXiv 2208.04202; not the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .continuous_latents import ContinuousLatents
from .denoiser import Denoiser
from .noising import NoisyLatents, NoisyTokens, latents_at
from .precision import uncached_autocast
from .rng import RowGenerator

_SHARE = 0.5  # of the examples


def self_conditions(denoiser: Denoiser) -> bool:
    """True if the denoiser has its last prediction as an input."""
    return bool(getattr(denoiser, "self_conditioning", False))


def self_estimate(
    denoiser: Denoiser, channel: ContinuousLatents, batch: NoisyTokens, latents: NoisyLatents, random: RowGenerator
) -> Tensor:
    """Returns the y_0 that the denoiser predicts for half of the examples, `(B, M, D)`; zeros for the others.

    Clean latents are known, and dropped ones unknown: they have no estimate, as in a run.
    """
    times = batch.times.latent_times
    chosen = (random.uniform() < _SHARE) & ~latents.dropped & (times > 0)  # (B,)
    if torch.compiler.is_compiling():  # a graph has a known number of rows
        rows = torch.arange(len(chosen), device=chosen.device)
    else:  # one at least, for sharded weights need an evaluation on every process
        rows = torch.cat([chosen[:1] | ~chosen.any(), chosen[1:]]).nonzero().squeeze(1)
    noisy, times = latents.noisy[rows], times[rows]
    with torch.no_grad(), uncached_autocast(noisy):
        output = latents_at(denoiser, batch, rows, noisy, times)
        found = channel.estimate(output.latent_prediction, noisy, times)
    estimate = torch.zeros_like(latents.noisy).index_put((rows,), found.detach())
    return torch.where(chosen[:, None, None], estimate, 0)
