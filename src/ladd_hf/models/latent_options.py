"""Prediction of latents, by name: the output head, and a shared or separate denoiser."""

from __future__ import annotations

from dataclasses import dataclass

from ..utils.number_ranges import COUNT, COUNT_OR_ZERO
from ..utils.options import Options, option
from ..utils.registry import Registry


@dataclass(frozen=True)
class LinearHead(Options):
    """A linear map to the latents' output."""

    setting = "latent_head"
    layers = 0


@dataclass(frozen=True)
class MlpHead(Options):
    """A residual MLP before the linear output map.

    Args:
        layers: number of layers.
        hidden_size: width of the layers.
    """

    setting = "latent_head"
    layers: int = option(1, COUNT)
    hidden_size: int = option(2048, COUNT)


@dataclass(frozen=True)
class SharedDenoiser(Options):
    """Denoising of tokens and latents by the same network.

    Args:
        skips_masked_tokens: evaluate the latents' stream alone while every token of a text is masked (t_x = 1).
    """

    setting = "latent_denoiser"
    skips_masked_tokens: bool = option(False, bool)


@dataclass(frozen=True)
class SeparateDenoiser(Options):
    """Denoising of latents by a second network without tokens, for sequential inference.

    Args:
        num_layers: number of its layers; 0 for that of the first network.
    """

    setting = "latent_denoiser"
    num_layers: int = option(0, COUNT_OR_ZERO)


LATENT_HEADS: Registry[type[LinearHead | MlpHead]] = Registry("latent head", {"linear": LinearHead, "mlp": MlpHead})
LATENT_DENOISERS: Registry[type[SharedDenoiser | SeparateDenoiser]] = Registry(
    "latent denoiser", {"shared": SharedDenoiser, "separate": SeparateDenoiser}
)
