"""What the models return."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers.modeling_outputs import ModelOutput


@dataclass
class LaddModelOutput(ModelOutput):
    """States of both streams.

    Attributes:
        last_hidden_state: `(B, S, hidden_size)`, the tokens' states before the output head's norm.
        latent_hidden_state: `(B, M, hidden_size)`, the latents', or `None`.
        conditioning: `(B, cond_hidden_size)`, the time conditioning, or `None`.
        hidden_states: tuple of the tokens' states before and after each block, where asked for.
        attentions: tuple of attention weights over [tokens; latents], where asked for (eager attention only).
    """

    last_hidden_state: Tensor | None = None
    latent_hidden_state: Tensor | None = None
    conditioning: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class LaddOutput(ModelOutput):
    """What the denoiser predicts.

    Attributes:
        loss: scalar training loss, where `labels` were given.
        logits: `(B, S, V)`, or `(n, V)` in row-major order of `logits_mask`; what is never written, such as
            the mask token, is at minus infinity.
        latent_prediction: `(B, M, D)` predicted y_0 or noise, or `(B, M, K)` logits over codes, or `None`.
        logits_positions: `(n,)` int64, which of the batch's `B * S` tokens `logits` are of, if the loss's own
            evaluation is what is returned.
        loss_parts: each term of the loss by name, unweighted, detached.
        statistics: what else of the batch is worth watching, such as the number of codes in use, by name.
        hidden_states, attentions: see [`LaddModelOutput`].
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    latent_prediction: Tensor | None = None
    logits_positions: Tensor | None = None
    loss_parts: dict[str, Tensor] | None = None
    statistics: dict[str, Tensor] | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


__all__ = ["LaddModelOutput", "LaddOutput"]
