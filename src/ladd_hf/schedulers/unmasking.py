"""Selection of the masked tokens that a step reveals: ancestral, in random order, or most confident first.

The ancestral law is the model's own and the default. The docstrings of the others give their benefits and limits. Those
that choose how many a step reveals by how sure the denoiser is are in `adaptive_unmasking.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..diffusion.masked_channels import MaskedChannel
from ..diffusion.rng import RowGenerator
from ..utils.registry import Registry, Spec


@dataclass(frozen=True)
class TokenStep:
    """A step of the tokens from time t to time s.

    Attributes:
        t, s: the two times, s < t.
        steps_left: number of steps that change tokens, this one included.
        remask: probability that the step remasks a visible token.
    """

    t: float
    s: float
    steps_left: int
    remask: float = 0.0


class Unmasking(ABC):
    """Selects the positions that a step reveals. All tensors are `(B, S)` bool unless stated otherwise."""

    exact_with_token_times: ClassVar[bool] = True  # False: not exact for a denoiser conditioned on t_x
    follows_times: ClassVar[bool] = True  # False: how many tokens a step reveals does not depend on its times
    one_evaluation_per_token: ClassVar[bool] = False  # True: there are no more steps than masked tokens

    @abstractmethod
    def candidates(
        self, channel: MaskedChannel, tokens: Tensor, step: TokenStep, random: RowGenerator, editable: Tensor | None
    ) -> Tensor:
        """Returns the positions of `tokens` `(B, S)` at which the step needs logits, drawn before any evaluation; none
        in a row in which it reveals nothing. `editable` are the positions the run writes, `None` for all.
        """

    def chosen(
        self, candidates: Tensor, logits: Tensor, channel: MaskedChannel, step: TokenStep, editable: Tensor | None
    ) -> Tensor:
        """Returns the candidates to reveal: all of them, unless a subclass overrides this.

        `logits` are `(n, V)` at the candidates; `editable` are the positions the run writes, `None` for all.
        """
        return candidates


class AncestralUnmasking(Unmasking):
    """Reveals each masked token independently, with the reverse process's probability: exact. Paper, section 2."""

    def candidates(
        self, channel: MaskedChannel, tokens: Tensor, step: TokenStep, random: RowGenerator, editable: Tensor | None
    ) -> Tensor:
        """Returns the positions to reveal."""
        return channel.draw_unmask(tokens, step.t, step.s, random, step.remask)


class FirstHittingUnmasking(Unmasking):
    """Reveals the same number of tokens in each step, at random positions (first-hitting sampling, Zheng et al. 2024,
    arXiv 2409.02908).

    With as many steps as tokens, one token is revealed at a time: exactly the ancestral law of infinitely many steps.
    With fewer steps, several are revealed at once, drawn independently; these are the average numbers of the ancestral
    law. Limits: the times are not those of the run's steps, so a denoiser conditioned on t_x is rejected. Latents that
    are denoised together with the tokens still follow their time grid, so only runs without latents, or with latents
    that are given or denoised first, are exact.
    """

    exact_with_token_times = False
    follows_times = False
    one_evaluation_per_token = True

    def candidates(
        self, channel: MaskedChannel, tokens: Tensor, step: TokenStep, random: RowGenerator, editable: Tensor | None
    ) -> Tensor:
        """Returns the positions to reveal: a share 1 / steps_left of each row's masked tokens, rounded up."""
        masked = tokens == channel.mask_id
        order = random.uniform(tokens.shape[1]).masked_fill(~masked, torch.inf)
        return first_places(order, -(-masked.sum(1) // step.steps_left))


class ConfidenceUnmasking(Unmasking):
    """Reveals the tokens with the highest confidence first, as many as the noise schedule gives on average.

    Args:
        confidence: maps log-probabilities `(n, V)` to scores `(n,)`, higher for higher confidence.

    With an exact denoiser, one token at a time is exact in any order. Limits: with the errors of a trained denoiser,
    this order prefers easy tokens, so that samples are more likely and less varied than with the ancestral law. Several
    tokens at once are drawn independently, as always. Logits are needed at every masked token.
    """

    def __init__(self, confidence: Callable[[Tensor], Tensor]) -> None:
        self.confidence = confidence

    def candidates(
        self, channel: MaskedChannel, tokens: Tensor, step: TokenStep, random: RowGenerator, editable: Tensor | None
    ) -> Tensor:
        """Returns all masked positions, except in rows in which the step reveals none."""
        masked = tokens == channel.mask_id
        return masked & (self._number(masked, channel, step, editable) > 0)[:, None]

    def chosen(
        self, candidates: Tensor, logits: Tensor, channel: MaskedChannel, step: TokenStep, editable: Tensor | None
    ) -> Tensor:
        """Returns the most confident candidates, as many as the schedule reveals on average; ties by position."""
        order = surest_first(candidates, self.confidence(logits.double().log_softmax(-1)))
        return first_places(order, self._number(candidates, channel, step, editable))

    @staticmethod
    def _number(masked: Tensor, channel: MaskedChannel, step: TokenStep, editable: Tensor | None) -> Tensor:
        """Returns how many of the `masked` positions each row reveals, `(B,)`; 0 or less for none."""
        to_write = masked.shape[1] if editable is None else editable.sum(1)
        share = 1 - channel.alpha_at(step.s)
        # 1e-9 keeps rounding errors from lowering whole numbers
        staying = torch.as_tensor(to_write * share + 1e-9, device=masked.device).floor()
        return masked.sum(1) - staying


def surest_first(candidates: Tensor, scores: Tensor) -> Tensor:
    """Returns numbers `(B, S)`, least where the candidates' `scores` `(n,)` are highest, and infinite elsewhere."""
    scores = (scores * 1e5).round()  # ties, so that rounding in the network does not decide
    order = torch.full(candidates.shape, torch.inf, dtype=torch.float64, device=candidates.device)
    order[candidates] = -scores
    return order


def first_places(order: Tensor, count: Tensor) -> Tensor:
    """Returns the `count` `(B,)` smallest entries of each row of `order` `(B, S)` as bool; ties by position."""
    rank = order.argsort(dim=1, stable=True).argsort(dim=1)
    return rank < count[:, None]


def top_probability(log_probabilities: Tensor) -> Tensor:
    """Returns the top token's log-probability, `(n,)`, as MaskGIT (arXiv 2202.04200), LLaDA (arXiv 2502.09992)."""
    return log_probabilities.amax(-1)


def probability_margin(log_probabilities: Tensor) -> Tensor:
    """Returns the probability margin between the top two tokens, `(n,)`: Kim et al. 2025 (arXiv 2502.06768)."""
    first, second = log_probabilities.exp().topk(2, dim=-1).values.unbind(-1)
    return first - second


def negative_entropy(log_probabilities: Tensor) -> Tensor:
    """Returns the negative entropy in nats, `(n,)`, as in Dream (arXiv 2508.15487)."""
    return torch.special.entr(log_probabilities.exp()).sum(-1).neg()


UNMASKINGS: Registry[Callable[..., Unmasking]] = Registry(
    "`unmasking`",
    {
        "ancestral": AncestralUnmasking,
        "first_hitting": FirstHittingUnmasking,
        "top_probability": lambda: ConfidenceUnmasking(top_probability),
        "margin": lambda: ConfidenceUnmasking(probability_margin),
        "entropy": lambda: ConfidenceUnmasking(negative_entropy),
    },
    modules=dict.fromkeys(("threshold", "entropy_bound"), "adaptive_unmasking"),
    package=__package__,
)
register_unmasking = UNMASKINGS.register


def unmasking(spec: Spec) -> Unmasking:
    """Builds an unmasking order from a name, or a mapping of `name` and options.

    Raises `ValueError` for an unknown name and for invalid options.
    """
    built: Unmasking = UNMASKINGS.build(spec)
    return built
