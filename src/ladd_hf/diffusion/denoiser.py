"""The interface of a denoiser, as the training loss and the bound use it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from torch import Tensor

from .channels import EncodedLatents, LatentChannel
from .masked_channels import MaskedChannel
from .rng import RowGenerator


class Encode(Protocol):
    """Function that returns the clean latents of tokens, computed by an encoder or precomputed."""

    def __call__(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        random: RowGenerator | None = None,
        update_codebook: bool = True,
        *,
        feature_noise: float = 0.0,
    ) -> EncodedLatents:
        """Encodes `(B, S)` tokens; `update_codebook` allows a codebook to learn from them, `feature_noise` is noise on
        the encoder's input, relative to it. It is given only where it is set."""


class Teacher(Protocol):
    """Interface of a denoiser that is only asked for predictions."""

    def denoise(self, input_ids: Tensor | None, latents: Tensor | None = None, **kwargs: Any) -> Any:
        """Evaluates the denoiser: returns `.logits` `(n, V)` at `logits_mask` and `.latent_prediction`."""


class Denoiser(Teacher, Protocol):
    """Interface of a model for the loss and the bound: its call, its two channels and its encoder."""

    @property
    def token_channel(self) -> MaskedChannel:
        """The channel of the tokens."""

    @property
    def latent_channel(self) -> LatentChannel | None:
        """The channel of the latents, `None` without."""

    @property
    def encode(self) -> Encode:
        """The model's encoder."""


def tangents_of(denoiser: Denoiser) -> AbstractContextManager[None]:
    """Context in which forward derivatives of a denoiser's evaluations can be computed, without dropout.

    It is the denoiser's own `with_tangents()`; one without it is left as it is.
    """
    own = getattr(denoiser, "with_tangents", None)
    return nullcontext() if own is None else own()


class CodedDenoiser(Denoiser, Protocol):
    """Interface of a model with codes, where `latent_replacement_share` draws others."""

    def code_vectors(self, codes: Tensor) -> Tensor:
        """Returns the vectors of codes, `(B, M)` to `(B, M, D)`."""
