"""Unmasking in which the denoiser's certainty decides how many tokens a step reveals.

The times of a run's steps do not matter to it, only their number: a run makes as many evaluations as it was given, also
once all is written (the pipeline's `skip_idle_rows` leaves those out), and its last step reveals what is left, sure or
not. Limits: both prefer the tokens that the denoiser is sure of, so that samples are likelier and less varied than the
model's own, and no bound is of their law; logits are needed at every masked token; a denoiser conditioned on t_x is
rejected, since other shares of its texts are masked than in training.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..diffusion.masked_channels import MaskedChannel
from ..diffusion.rng import RowGenerator
from ..utils.number_ranges import NOT_NEGATIVE, SHARE
from ..utils.options import REQUIRED, Options, option
from .unmasking import (
    TokenStep,
    Unmasking,
    first_places,
    negative_entropy,
    register_unmasking,
    surest_first,
    top_probability,
)


@dataclass(frozen=True)
class AdaptiveUnmasking(Options, Unmasking):
    """Base of unmaskings whose numbers of tokens follow from the logits."""

    setting: ClassVar[str] = "unmasking"
    exact_with_token_times: ClassVar[bool] = False
    follows_times: ClassVar[bool] = False

    def candidates(
        self, channel: MaskedChannel, tokens: Tensor, step: TokenStep, random: RowGenerator, editable: Tensor | None
    ) -> Tensor:
        """Returns all masked positions: each row reveals at least one of its own."""
        return tokens == channel.mask_id

    def chosen(
        self, candidates: Tensor, logits: Tensor, channel: MaskedChannel, step: TokenStep, editable: Tensor | None
    ) -> Tensor:
        """Returns the candidates that the denoiser is sure enough of, in the last step all of them."""
        if step.steps_left == 1:
            return candidates
        return self.sure(candidates, logits.double().log_softmax(-1))

    @abstractmethod
    def sure(self, candidates: Tensor, log_probabilities: Tensor) -> Tensor:
        """Returns the candidates to reveal, `(B, S)` bool, at least one in each row that has any.

        `log_probabilities` are `(n, V)` at the candidates.
        """


@register_unmasking("threshold")
@dataclass(frozen=True)
class ThresholdUnmasking(AdaptiveUnmasking):
    """Reveals all tokens whose likeliest value has a probability above `threshold`, and the surest one if there is none
    (Fast-dLLM, arXiv 2505.22618)."""

    threshold: float = option(REQUIRED, SHARE)

    def sure(self, candidates: Tensor, log_probabilities: Tensor) -> Tensor:
        """Returns those above the threshold, or the surest one; the first of equally sure ones."""
        scores = top_probability(log_probabilities)
        above = candidates.masked_scatter(candidates, scores.exp() > self.threshold)
        none_above = ~above.any(1, keepdim=True) & candidates
        return above | none_above & first_places(surest_first(candidates, scores), candidates.any(1).long())


@register_unmasking("entropy_bound")
@dataclass(frozen=True)
class EntropyBoundUnmasking(AdaptiveUnmasking):
    """Reveals as many tokens, those of least entropy first, as keep the sum of their entropies minus the largest of
    them at `gamma` nats or below: the EB-Sampler (Ben-Hamu et al. 2025, arXiv 2505.24857).

    That difference bounds what the tokens of a step can tell of each other, and so what drawing them independently
    costs, if the denoiser is exact. At 0 a step reveals one token, and beside it all that are certain.
    """

    gamma: float = option(REQUIRED, NOT_NEGATIVE)

    def sure(self, candidates: Tensor, log_probabilities: Tensor) -> Tensor:
        """Returns the tokens of least entropy within the bound; the first of equally sure ones."""
        scores = negative_entropy(log_probabilities)
        order = surest_first(candidates, scores)
        entropies = torch.zeros_like(order).masked_scatter(candidates, -scores)
        places = order.argsort(dim=1, stable=True)
        entropies = entropies.gather(1, places)  # least first
        shared = entropies.cumsum(1) - entropies.cummax(1).values  # does not fall from place to place
        count = ((shared <= self.gamma) & candidates.gather(1, places)).sum(1)
        return first_places(order, count)
