"""What tokens and latents weigh at points of a path: the two integrands of the bound, and of the loss it makes.

A path's integrand is a rate of time times a weight. Where time stands still it is zero, and the weight may be infinite:
this is the one place that looks. Paper, sections 6, 7.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .channels import LatentChannel, MaskedChannel
from .paths import TimePoints


def token_weights(channel: MaskedChannel, points: TimePoints) -> Tensor:
    """The bound's weight of the tokens' cross-entropy at the points, `(B,)`; 0 where t_x stands still."""
    rates = points.token_rates
    return torch.where(rates > 0, rates * channel.schedule.weight(points.token_times), 0.0)


def latent_terms(
    channel: LatentChannel, prediction: Tensor, clean: Tensor, noisy: Tensor, points: TimePoints
) -> Tensor:
    """The latents' integrand at the points, `(B,)` nats per unit of the path; 0 where t_y stands still.

    Args:
        channel: the kind of latents.
        prediction: `(B, M, D)` or `(B, M, K)`, what the denoiser says at the points.
        clean, noisy: `(B, M, D)` vectors, or `(B, M)` codes.
        points: times and rates, `(B,)` each.
    """
    moving = torch.where(points.latent_rates > 0, points.latent_times, 1.0)  # for a finite gradient, too
    integrand = channel.bound(prediction, clean, noisy, moving)
    return torch.where(points.latent_rates > 0, points.latent_rates * integrand, 0.0)
