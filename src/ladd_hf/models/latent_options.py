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
    """A residual MLP before that map.

    Args:
        layers: number of layers.
        hidden_size: their width.
    """

    setting = "latent_head"
    layers: int = option(1, COUNT)
    hidden_size: int = option(2048, COUNT)


@dataclass(frozen=True)
class SharedDenoiser(Options):
    """The network of the tokens denoises the latents too."""

    setting = "latent_denoiser"


@dataclass(frozen=True)
class SeparateDenoiser(Options):
    """A second network denoises continuous latents, with no tokens in it, for sequential inference.

    Args:
        num_layers: its depth; 0 for that of the first.
    """

    setting = "latent_denoiser"
    num_layers: int = option(0, COUNT_OR_ZERO)


LATENT_HEADS: Registry[type[LinearHead | MlpHead]] = Registry("latent head", {"linear": LinearHead, "mlp": MlpHead})
LATENT_DENOISERS: Registry[type[SharedDenoiser | SeparateDenoiser]] = Registry(
    "latent denoiser", {"shared": SharedDenoiser, "separate": SeparateDenoiser}
)
