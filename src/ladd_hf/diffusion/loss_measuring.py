"""Measurement of a denoiser's losses over the time square, the entries of a [`LossTable`]."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch

from .denoiser import Denoiser
from .loss_draws import HeldOutTexts, TextLosses, losses_of_runs, repeated_draws
from .loss_table import LossTable
from .time_axes import TimeAxis


@torch.no_grad()
def measure_losses(
    denoiser: Denoiser,
    batches: Iterable[HeldOutTexts],
    cells: int = 8,
    num_draws: int = 1,
    rows_at_once: int = 512,
    seed: int = 0,
    latents_first: bool = False,
    latent_width: float = 0.0,
    tell: Callable[[float], None] | None = None,
) -> LossTable:
    """Measures a denoiser's mean losses at the points of a grid of the two times.

    Each loss has evaluations of its own, in which at least one token (or code) is masked, with the probability of that
    as a factor. Where few are masked there are more draws, which mask different ones. All points see the same noise of
    a text, so that differences between them err less than they do; it depends on `seed` and on the text alone.

    Args:
        denoiser: the model.
        batches: held-out texts, each of which counts once.
        cells: gaps between measured times on each side; losses are measured at (cells + 1)^2 points.
        num_draws: draws of noise per text and loss, up to 4 times as many where few tokens or codes are masked.
        rows_at_once: rows of an evaluation, into which several points of a small batch are put.
        seed: of the noise.
        latents_first: measure only points of runs that write the latents before the tokens.
        latent_width: noise, as a share of their signal, with which continuous latents are known well enough, if clean
            ones have no probability.
        tell: is called with the share that is measured, from time to time.

    Raises `ValueError` for fewer than two texts, which have no standard error, and for losses that are not finite.
    """
    channel = denoiser.latent_channel
    width = latent_width if channel is not None and channel.ends_noisy else 0.0
    latent_axis = TimeAxis.clean() if channel is None else TimeAxis.of(channel, cells, width)
    axes = TimeAxis.of(denoiser.token_channel, cells), latent_axis
    latents_first = latents_first and channel is not None
    batches = list(batches)
    num_texts = sum(len(texts) for texts in batches)
    if num_texts < 2:
        raise ValueError(f"The losses of {num_texts} texts have no standard error: give at least 2, better hundreds.")
    num_tokens = sum(int(texts.maskable.sum()) for texts in batches) / num_texts
    measured = [TextLosses(denoiser, texts, seed, latent_axis) for texts in batches]
    lengths = (num_tokens, float(measured[0].num_codes))
    nowhere_left = None if channel is None or channel.has_rate else len(latent_axis.measured) - 1  # no steps from here
    draws = [
        draw
        for loss in losses_of_runs(*axes, latents_first)
        if not (loss.of_latents and loss.column == nowhere_left)
        for draw in repeated_draws(loss, axes[loss.of_latents], lengths[loss.of_latents], num_draws)
    ]
    shape = (len(axes[0].measured), len(axes[1].measured))
    done = 0

    def count(number: int) -> None:
        nonlocal done
        done += number
        if tell is not None:
            tell(done / (len(draws) * len(measured)))

    parts = zip(*(texts.means(draws, shape, rows_at_once, count) for texts in measured), strict=True)
    token_losses, latent_losses = (np.concatenate(of_texts) for of_texts in parts)  # (texts, g_x, g_y, ...)
    if latent_losses.ndim > token_losses.ndim:
        latent_losses = latent_losses - latent_losses.swapaxes(-1, -2)  # a step back would give back what it cost
    token_errors, latent_errors = (losses.std(0, ddof=1) / num_texts**0.5 for losses in (token_losses, latent_losses))
    return LossTable(
        *axes,
        token_losses.mean(0),
        latent_losses.mean(0),
        token_errors,
        latent_errors,
        num_tokens=num_tokens,
        num_texts=num_texts,
        latents_first=latents_first,
    )
