"""Weighted terms of tokens and latents at points of a path: the integrands of the bound and of the ELBO loss.

An integrand is the rate of a time multiplied by a weight. Where the time does not change it is zero, even if the weight
is infinite; only this module handles that case. Paper, sections 6, 7.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .channels import LatentChannel
from .masked_channels import MaskedChannel
from .paths import TimePoints


def token_weights(channel: MaskedChannel, points: TimePoints) -> Tensor:
    """Returns the bound's weight of the tokens' cross-entropy at the points, `(B,)`; 0 where t_x does not change."""
    rates = points.token_rates
    return torch.where(rates > 0, rates * channel.schedule.weight(points.token_times), 0.0)


def latent_terms(
    channel: LatentChannel, prediction: Tensor, clean: Tensor, noisy: Tensor, points: TimePoints
) -> Tensor:
    """Returns the latents' integrand at the points, `(B,)` nats per unit of the path; 0 where t_y does not change.

    Args:
        channel: the kind of latents.
        prediction: `(B, M, D)` or `(B, M, K)`, the denoiser's output at the points.
        clean, noisy: `(B, M, D)` vectors, or `(B, M)` codes.
        points: times and rates, `(B,)` each.
    """
    moving = torch.where(points.latent_rates > 0, points.latent_times, 1.0)  # so that the gradient is finite too
    integrand = channel.bound(prediction, clean, noisy, moving)
    return torch.where(points.latent_rates > 0, points.latent_rates * integrand, 0.0)
