"""Outputs of the models."""

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
        hidden_states: tuple of the tokens' states before and after each block, if requested.
        attentions: tuple of attention weights over [tokens; latents], if requested (eager attention only).
    """

    last_hidden_state: Tensor | None = None
    latent_hidden_state: Tensor | None = None
    conditioning: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass
class LaddOutput(ModelOutput):
    """Predictions of the denoiser.

    Attributes:
        loss: scalar training loss, if `labels` were given.
        logits: `(B, S, V)`, or `(n, V)` in row-major order of `logits_mask`; tokens that are never generated, such as
            the mask token, are at minus infinity.
        latent_prediction: `(B, M, D)` predicted y_0, or the noise, or another target of `latent_prediction_type`, or
            `(B, M, K)` logits over codes or anchors, or `None`.
        latent_anchors: `(K, D)`, the anchors that `latent_prediction` is about, or `None`.
        latent_anchor_spread: scalar, variance of clean latents' coordinates around them; `None`: they are at anchors.
        logits_positions: `(n,)` int64, indices of the logits among the batch's `B * S` tokens, if they are those of the
            loss's own evaluation.
        loss_parts: each term of the loss by name, unweighted, detached.
        statistics: further quantities of the batch to monitor, such as the number of codes in use, by name.
        time_moments: `(2, K)`, of a loss with `adaptive_times`: sums of squared losses by time, and counts.
        hidden_states, attentions: see [`LaddModelOutput`].
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    latent_prediction: Tensor | None = None
    latent_anchors: Tensor | None = None
    latent_anchor_spread: Tensor | None = None
    logits_positions: Tensor | None = None
    loss_parts: dict[str, Tensor] | None = None
    statistics: dict[str, Tensor] | None = None
    time_moments: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


__all__ = ["LaddModelOutput", "LaddOutput"]
