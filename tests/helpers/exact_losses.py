"""Losses and bounds of an exact denoiser, by summing over all patterns of masks."""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch

from helpers.exact_denoiser import SEQUENCES, K, S, V
from ladd_hf.diffusion.loss_table import LossTable
from ladd_hf.diffusion.time_axes import TimeAxis


def masked_cross_entropy(denoiser, visible_x, visible_y):
    """Expected cross-entropies over the masked tokens and over the masked codes, `(sequences,)` nats each.

    Tokens and codes are visible with the probabilities given; all patterns are summed over.
    """
    codes = denoiser.codes if denoiser.latent_channel is not None else SEQUENCES[:, :0]
    of_tokens = torch.zeros(len(SEQUENCES), dtype=torch.float64)
    of_codes = torch.zeros_like(of_tokens)
    for pattern in itertools.product((False, True), repeat=S + codes.shape[1]):
        hidden_x, hidden_y = torch.tensor(pattern[:S]), torch.tensor(pattern[S:], dtype=torch.bool)
        p = math.prod(1 - visible_x if hidden else visible_x for hidden in pattern[:S])
        p *= math.prod(1 - visible_y if hidden else visible_y for hidden in pattern[S:])
        if p == 0:
            continue
        latents = torch.where(hidden_y, K, codes) if codes.shape[1] else None
        everywhere = torch.ones_like(SEQUENCES, dtype=torch.bool)
        output = denoiser.denoise(torch.where(hidden_x, V, SEQUENCES), latents, logits_mask=everywhere)
        log_p = output.logits.log_softmax(-1).view(*SEQUENCES.shape, V + 1).gather(2, SEQUENCES[..., None])[..., 0]
        of_tokens -= p * (log_p * hidden_x).sum(1)
        if latents is not None:
            log_p = output.latent_prediction.log_softmax(-1).gather(2, codes[..., None])[..., 0]
            of_codes -= p * (log_p * hidden_y).sum(1)
    return of_tokens, of_codes


def alphas(t_x, t_y):
    """Linear for tokens, polynomial of degree 2 for codes."""
    return 1 - t_x, 1 - t_y**2


def enumerated_run(denoiser, points):
    """Token part and code part of the bound of a run's steps, exactly."""
    parts = [torch.zeros(len(SEQUENCES), dtype=torch.float64) for _ in range(2)]
    for start, end in itertools.pairwise(points):
        now, then = alphas(*start), alphas(*end)
        terms = masked_cross_entropy(denoiser, *now)
        for part, term, a_t, a_s in zip(parts, terms, now, then, strict=True):
            if a_s > a_t:
                part += (a_s - a_t) / (1 - a_t) * term
    return parts


def exact_table(denoiser, cells, latents_first=False):
    """The table of an exact denoiser's losses on texts of its own law."""
    latents = denoiser.latent_channel
    axes = [
        TimeAxis.of(denoiser.token_channel, cells),
        TimeAxis.clean() if latents is None else TimeAxis.of(latents, cells),
    ]
    losses = np.zeros((2, *(len(axis.measured) for axis in axes)))
    for row, t_x in enumerate(axes[0].limits):
        for column, t_y in enumerate(axes[1].limits):
            for loss, times in enumerate([(t_x, axes[1].measured_times[column]), (axes[0].measured_times[row], t_y)]):
                visible = alphas(*map(float, times))
                term = masked_cross_entropy(denoiser, *visible)[loss]
                if visible[loss] < 1:
                    losses[loss, row, column] = float(denoiser.table @ term) / (1 - visible[loss])
    return LossTable(*axes, *losses, *np.zeros_like(losses), float(S), len(SEQUENCES), latents_first)
