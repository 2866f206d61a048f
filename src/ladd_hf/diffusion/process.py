"""The forward process of tokens and latents, as one object. Paper, sections 2 and 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from ..utils.number_ranges import COUNT_OR_ZERO
from ..utils.options import Options, option
from ..utils.registry import Spec
from ..utils.wrong_objects import described
from .anchored_latents import AnchoredLatents
from .channels import LatentChannel
from .continuous_latents import ContinuousLatents
from .latent_predictions import LATENT_PREDICTIONS, AnchorPrediction, LatentPrediction, NoisePrediction
from .masked_channels import DiscreteLatents, MaskedChannel
from .noise_schedules import gaussian_schedule, mask_schedule
from .paths import PathSpec, time_path
from .preconditioned_latents import PreconditionedLatents

LATENT_TYPES = ("none", "continuous", "discrete")


@dataclass(frozen=True)
class NoiseProcess(Options):
    """The noise processes of tokens and latents, used to train a model and reversed by a scheduler.

    Attributes:
        mask_token_id: id of the mask token, `None` if not known yet.
        token_noise_schedule: alpha(t) of the tokens, a name or a mapping with `name` and options.
        latent_type: `none`, `continuous` vectors or `discrete` codes.
        latent_dim: size of a continuous latent.
        codebook_size: number of codes.
        latent_noise_schedule: alpha(t) of codes or a(t)^2 of vectors, given as `token_noise_schedule` is.
        latent_prediction_type: `sample`, `epsilon`, `v`, `preconditioned` or `anchors`, the target of the denoiser's
            prediction of continuous latents, a name or a mapping with `name` and options.

    Raises `ValueError` for other values.
    """

    setting: ClassVar[str] = "noise_process"

    mask_token_id: int | None = option(None, COUNT_OR_ZERO)
    token_noise_schedule: Spec = "linear"
    latent_type: str = option("none", LATENT_TYPES)
    latent_dim: int = option(0, COUNT_OR_ZERO)
    codebook_size: int = option(0, COUNT_OR_ZERO)
    latent_noise_schedule: Spec | None = None
    latent_prediction_type: Spec = "sample"

    def __post_init__(self) -> None:
        super().__post_init__()
        LATENT_PREDICTIONS.build(self.latent_prediction_type)

    @classmethod
    def of(cls, config: Any) -> NoiseProcess:
        """Returns the process of a model's configuration, any object with these attributes."""
        return cls(**{name: getattr(config, name) for name in NOISE_FIELDS})

    @classmethod
    def parsed(cls, data: NoiseProcess | Mapping[str, Any] | None) -> NoiseProcess:
        """Returns the process of a mapping as returned by `data`; `None` gives the defaults.

        Raises `ValueError` for anything else, and for an entry that is unknown or out of range.
        """
        if isinstance(data, NoiseProcess):
            return data
        if data is not None and not isinstance(data, Mapping):
            raise ValueError(f"`noise_process` is {described(data)}; give a NoiseProcess or a mapping of its fields.")
        if unknown := [name for name in data or {} if name not in NOISE_FIELDS]:
            raise ValueError(
                f"`noise_process` has no entry {described(unknown[0])}; it takes {', '.join(NOISE_FIELDS)}."
            )
        return cls(**(data or {}))

    def data(self) -> dict[str, Any]:
        """Returns the process as JSON data."""
        return asdict(self)

    @property
    def latents_have_probabilities(self) -> bool:
        """True for codes, and for vectors that are snapped to anchors; other continuous latents have a density, whose
        bound depends on their smallest noise."""
        if self.latent_type != "continuous":
            return self.latent_type == "discrete"
        prediction = LATENT_PREDICTIONS.build(self.latent_prediction_type)
        return isinstance(prediction, AnchorPrediction) and prediction.snap

    def bounds_texts(self, path: PathSpec) -> bool:
        """True if the sum of tokens and latents along a path bounds the texts' negative log-likelihood: nothing of the
        latents is given, and they have probabilities."""
        whole = self.latents_have_probabilities and time_path(path).vertices[0] == (1, 1)
        return self.latent_type == "none" or whole

    def token_channel(self) -> MaskedChannel:
        """Builds the channel of the tokens. Raises `ValueError` for an unknown noise schedule."""
        return MaskedChannel(mask_schedule(self.token_noise_schedule), self.mask_token_id)

    def latent_channel(self, solver: str | None = None, renoising: float = 0.0) -> LatentChannel | None:
        """Builds the channel of the latents, `None` without latents.

        Args:
            solver: the reverse step of continuous latents, by default the one that suits their prediction.
            renoising: share of the noise that their steps draw anew, see [`ContinuousLatents`].

        Raises `ValueError` for an unknown noise schedule or solver, and for codes with `renoising`.
        """
        if self.latent_type == "none":
            return None
        schedule = self.latent_noise_schedule or ""
        if self.latent_type == "discrete":
            if renoising:
                raise ValueError(
                    f"`latent_renoising` is {renoising:g}, but these latents are codes, whose noise is the mask: leave "
                    "it at 0."
                )
            return DiscreteLatents(mask_schedule(schedule), self.codebook_size)
        prediction: LatentPrediction = LATENT_PREDICTIONS.build(self.latent_prediction_type)
        gaussian, solver = gaussian_schedule(schedule), solver or prediction.solver
        if isinstance(prediction, AnchorPrediction):
            return AnchoredLatents(gaussian, self.latent_dim, solver, renoising)
        if prediction.preconditioning is not None:
            return PreconditionedLatents(gaussian, prediction.preconditioning, self.latent_dim, solver, renoising)
        predicts_noise = isinstance(prediction, NoisePrediction)
        return ContinuousLatents(gaussian, predicts_noise, self.latent_dim, solver, renoising)


NOISE_FIELDS = tuple(one.name for one in fields(NoiseProcess))
