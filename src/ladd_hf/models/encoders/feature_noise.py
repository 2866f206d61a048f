"""Noise on what an encoder reads, against latents that hang on every detail of it."""

from __future__ import annotations

from torch import Tensor

from ...diffusion.precision import at_least_float32
from ...diffusion.rng import RowGenerator


def with_noise(features: Tensor, share: float, random: RowGenerator | None) -> Tensor:
    """Adds Gaussian noise to features `(B, L, H)`, with a standard deviation of `share` times each one's root mean
    square; unchanged where `share` is 0.

    The scale is relative, and gets no gradient: larger features, which an encoder might learn, are no less noisy.
    Raises `ValueError` without `random`, the rows' randomness.
    """
    if not share:
        return features
    if random is None:
        raise ValueError(f"`feature_noise` is {share:g}, and there is no randomness to draw it from: give `random`.")
    scale = at_least_float32(features.detach()).square().mean(-1, keepdim=True).sqrt()
    noise = random.aside().normal(*features.shape[1:]).to(scale)
    return features + (share * scale * noise).to(features)
