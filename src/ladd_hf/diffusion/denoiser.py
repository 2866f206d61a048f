"""The interface of a denoiser, as the training loss and the bound use it."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from .channels import EncodedLatents, LatentChannel, MaskedChannel
from .rng import RowGenerator


class Encode(Protocol):
    """Clean latents of tokens, by an encoder or by what it has said before."""

    def __call__(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        random: RowGenerator | None = None,
        update_codebook: bool = True,
    ) -> EncodedLatents:
        """A codebook that learns from what it is shown may do so where it is allowed."""


class Denoiser(Protocol):
    """What the objective and the bound ask of a model: the call, its two channels and its encoder."""

    token_channel: MaskedChannel
    latent_channel: LatentChannel | None

    def denoise(self, input_ids: Tensor | None, latents: Tensor | None = None, **kwargs: Any) -> Any:
        """The contract's call: `.logits` `(n, V)` at `logits_mask`, and `.latent_prediction`."""

    @property
    def encode(self) -> Encode:
        """Its encoder."""
