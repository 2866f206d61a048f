"""The length of predicted latents put back where it is known: a mean of vectors of one length is shorter than they are.

A regression predicts the mean of y_0. Where all latents have one length (`latent_normalization`), that mean lies inside
the sphere, further inside for noisier y_t, and a step towards it leads to latents that are not seen in training. Not
the paper's.
"""

from __future__ import annotations

from typing import Any

from ..diffusion.anchored_latents import AnchoredLatents
from ..diffusion.channels import LatentChannel
from ..diffusion.continuous_latents import ContinuousLatents
from ..utils.wrong_objects import described

_NAMES = ("none", "l2", "unit")


def rescale(channel: LatentChannel | None, normalization: str) -> None:
    """Makes a scheduler's channel rescale each predicted y_0 before a step, as `latent_rescaling` says; a run without
    latents has none to rescale.

    Raises `ValueError` for an unknown name, and for codes and anchors, which are drawn as they are.
    """
    if not isinstance(normalization, str) or normalization not in _NAMES:
        raise ValueError(
            f"`latent_rescaling` is {described(normalization)}; give 'none', 'l2' or 'unit', as the model's "
            "`latent_normalization` is."
        )
    if normalization == "none" or channel is None:
        return
    if not isinstance(channel, ContinuousLatents) or isinstance(channel, AnchoredLatents):
        raise ValueError(
            f"`latent_rescaling` is {normalization!r}, but these latents are drawn as they are, not predicted as a "
            "mean: leave it at 'none'."
        )
    channel.known_length = 1.0 if normalization == "unit" else channel.latent_dim**0.5
    channel.has_own_law = False


def check_rescaling(normalization: str, config: Any) -> None:
    """Raises `ValueError` if the clean latents of a model with this configuration do not have the length that their
    predictions are scaled to, or if these are of jumps."""
    if normalization == "none" or config.latent_type == "none":
        return
    found, encoder = getattr(config, "latent_normalization", None), getattr(config, "encoder_options", None)
    if found is None:
        raise ValueError(
            f"`latent_rescaling` is {normalization!r}, but the model's `config` has no `latent_normalization`, the "
            f"length of its latents: leave it at 'none', or set that to {normalization!r} there."
        )
    if found != normalization:
        raise ValueError(
            f"`latent_rescaling` is {normalization!r}, but the model's `latent_normalization` is {found!r}: leave it "
            "at 'none', or train with the same."
        )
    if getattr(config, "latent_flow_map", False):
        raise ValueError(
            f"`latent_rescaling` is {normalization!r}, but with `latent_flow_map` the model predicts a jump's end, "
            "which has no length of its own: leave it at 'none'."
        )
    # of a learned projection the features before it are standardised, and its outputs have the length
    standardised = getattr(encoder, "standardization", False) and getattr(encoder, "projection", None) != "learned"
    changed = "standardization" if standardised else "variance"
    if standardised or getattr(encoder, "variance", "none") != "none":
        raise ValueError(
            f"`latent_rescaling` is {normalization!r}, but with `encoder.{changed}` of the model its latents do not "
            "keep that length: leave it at 'none'."
        )
