"""Prediction targets of noisy continuous latents, by name: y_0, the noise, v, or which anchor y_0 is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..utils.number_ranges import POSITIVE, whole
from ..utils.options import Options, option
from ..utils.registry import Registry
from .preconditioned_latents import Preconditioning


@dataclass(frozen=True)
class LatentPrediction(Options):
    """A prediction target.

    Attributes:
        solver: the reverse step that suits it.
    """

    setting: ClassVar[str] = "latent_prediction_type"
    solver: ClassVar[str] = "ddim"

    @property
    def preconditioning(self) -> Preconditioning | None:
        """The shares of y_t and of the network's output in y_0; `None` if the output is y_0, the noise or neither."""
        return None


@dataclass(frozen=True)
class SamplePrediction(LatentPrediction):
    """The clean latent y_0, of which a regression gives the mean."""


@dataclass(frozen=True)
class NoisePrediction(LatentPrediction):
    """The noise."""


@dataclass(frozen=True)
class VelocityPrediction(LatentPrediction):
    """v = a(t) noise - s(t) y_0, so that y_0 = a(t) y_t - s(t) v: y_0 at pure noise, the noise at clean latents."""

    @property
    def preconditioning(self) -> Preconditioning:
        """See [`LatentPrediction.preconditioning`]."""
        return Preconditioning(sign=-1)


@dataclass(frozen=True)
class PreconditionedPrediction(LatentPrediction):
    """F in y_0 = c_skip(t) y_t + c_out(t) F, with EDM's shares, for an input y_t scaled to unit variance.

    For data of unit variance F is -v, and the input is not scaled.

    Args:
        data_std: standard deviation of a coordinate of y_0, EDM's sigma_data.
    """

    data_std: float = option(1.0, POSITIVE)

    @property
    def preconditioning(self) -> Preconditioning:
        """See [`LatentPrediction.preconditioning`]."""
        return Preconditioning(self.data_std)


@dataclass(frozen=True)
class AnchorPrediction(LatentPrediction):
    """The probabilities that y_0 is one of K anchors, the k-means of the encoder's outputs. Ours, not the paper's.

    A regression's first step from pure noise gives all samples the same latent, the mean of all; of these
    probabilities an anchor is drawn. The likelihood of y_t given each anchor is known exactly, so that the network has
    to learn only what the context adds to it.

    Args:
        count: number K of anchors.
        snap: replace each of the encoder's outputs by its nearest anchor, once they are found, so that texts are
            trained on the same latents as samples get; otherwise outputs keep their distance to the anchors.
    """

    solver = "ddpm"

    count: int = option(1024, whole(2, "at least 2 anchors"))
    snap: bool = option(True, bool)


LATENT_PREDICTIONS: Registry[type[LatentPrediction]] = Registry(
    "latent prediction type",
    {
        "sample": SamplePrediction,
        "epsilon": NoisePrediction,
        "v": VelocityPrediction,
        "preconditioned": PreconditionedPrediction,
        "anchors": AnchorPrediction,
    },
)
