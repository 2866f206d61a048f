"""Which masked tokens a step reveals: by the ancestral law, in a random order, or the surest ones first.

The ancestral law is the model's own, and the default. The others trade it for something, which each says.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..diffusion.channels import MaskedChannel
from ..diffusion.rng import RowGenerator
from ..utils.registry import Registry, Spec


@dataclass(frozen=True)
class TokenStep:
    """A step of the tokens from time t to time s.

    Attributes:
        t, s: the two times, s < t.
        steps_left: steps that move tokens, from this one on.
        remask: probability that the step masks a visible token again.
    """

    t: float
    s: float
    steps_left: int
    remask: float = 0.0


class Unmasking(ABC):
    """Chooses the positions that a step reveals. All tensors are `(B, S)` bool unless said otherwise."""

    exact_with_token_times = True  # False: the law does not hold for a denoiser that is conditioned on t_x
    one_evaluation_per_token = False  # True: more steps than masked tokens would do nothing

    @abstractmethod
    def candidates(
        self, channel: MaskedChannel, tokens: Tensor, step: TokenStep, random: RowGenerator, editable: Tensor | None
    ) -> Tensor:
        """Returns the positions at which the step needs logits, of `tokens` `(B, S)`: drawn before any evaluation, and
        none in a row in which it reveals nothing. `editable` are the positions the run writes, `None` for all.
        """

    def chosen(
        self, candidates: Tensor, logits: Tensor, channel: MaskedChannel, step: TokenStep, editable: Tensor | None
    ) -> Tensor:
        """Returns the candidates that are revealed, all of them unless a subclass says otherwise.

        `logits` are `(n, V)` at the candidates; `editable` are the positions the run writes, `None` for all.
        """
        return candidates


class AncestralUnmasking(Unmasking):
    """Each masked token on its own, with the probability of the reverse process: the exact law. Paper, section 2."""

    def candidates(
        self, channel: MaskedChannel, tokens: Tensor, step: TokenStep, random: RowGenerator, editable: Tensor | None
    ) -> Tensor:
        """Those the step reveals."""
        return channel.draw_unmask(tokens, step.t, step.s, random, step.remask)


class FirstHittingUnmasking(Unmasking):
    """The same number of tokens in each step, at random places (first-hitting sampling, Zheng et al. 2024,
    arXiv 2409.02908).

    With as many steps as tokens, one token is revealed at a time: the ancestral law of infinitely many steps, exactly.
    With fewer, several at once, drawn apart; the ancestral law's random numbers of them only vary around these.
    Limits: the times are not those of the run's steps, so a denoiser that is told t_x is refused; and latents that
    are resolved along with the tokens still move on their grid of times, so exact is the run of given or first resolved
    latents, or of none.
    """

    exact_with_token_times = False
    one_evaluation_per_token = True

    def candidates(
        self, channel: MaskedChannel, tokens: Tensor, step: TokenStep, random: RowGenerator, editable: Tensor | None
    ) -> Tensor:
        """Those the step reveals: of each row's masked tokens the share 1 / steps_left, rounded up."""
        masked = tokens == channel.mask_id
        order = random.uniform(tokens.shape[1]).masked_fill(~masked, torch.inf)
        return _first(order, -(-masked.sum(1) // step.steps_left))


class ConfidenceUnmasking(Unmasking):
    """The tokens first that the denoiser is surest of, in the numbers that the noise schedule gives on average.

    Args:
        confidence: maps log-probabilities `(n, V)` to scores `(n,)`, higher where surer.

    With an exact denoiser, one token at a time is exact in any order. Limits: a trained one errs, and then this order
    prefers what it thinks easy, so that samples are likelier and less varied than the ancestral law's; several tokens
    at once are drawn apart as ever. And logits are needed at every masked token.
    """

    def __init__(self, confidence: Callable[[Tensor], Tensor]) -> None:
        self.confidence = confidence

    def candidates(
        self, channel: MaskedChannel, tokens: Tensor, step: TokenStep, random: RowGenerator, editable: Tensor | None
    ) -> Tensor:
        """All masked tokens, except in rows in which the step reveals none."""
        masked = tokens == channel.mask_id
        return masked & (self._number(masked, channel, step, editable) > 0)[:, None]

    def chosen(
        self, candidates: Tensor, logits: Tensor, channel: MaskedChannel, step: TokenStep, editable: Tensor | None
    ) -> Tensor:
        """The surest ones, of equally sure ones the first, so that as many are masked at s as there are on average."""
        scores = self.confidence(logits.double().log_softmax(-1))
        scores = (scores * 1e5).round()  # closer ones are alike, else the network's rounding would choose
        order = torch.full(candidates.shape, torch.inf, dtype=torch.float64, device=candidates.device)
        order[candidates] = -scores
        return _first(order, self._number(candidates, channel, step, editable))

    @staticmethod
    def _number(masked: Tensor, channel: MaskedChannel, step: TokenStep, editable: Tensor | None) -> Tensor:
        """Number of the `masked` that are revealed in each row, `(B,)`; 0 or less for none."""
        to_write = masked.shape[1] if editable is None else editable.sum(1)
        share = 1 - channel.alpha_at(step.s)
        staying = torch.as_tensor(to_write * share + 1e-9, device=masked.device).floor()  # whole numbers stay whole
        return masked.sum(1) - staying


def _first(order: Tensor, count: Tensor) -> Tensor:
    """The `count` `(B,)` smallest of each row of `order` `(B, S)`, as bool; of equal ones the first."""
    rank = order.argsort(dim=1, stable=True).argsort(dim=1)
    return rank < count[:, None]


def top_probability(log_probabilities: Tensor) -> Tensor:
    """Log-probability of the likeliest token, `(n,)`, as in MaskGIT (arXiv 2202.04200) and LLaDA (arXiv 2502.09992)."""
    return log_probabilities.amax(-1)


def probability_margin(log_probabilities: Tensor) -> Tensor:
    """How much likelier the likeliest token is than the second, `(n,)`: Kim et al. 2025 (arXiv 2502.06768)."""
    first, second = log_probabilities.exp().topk(2, dim=-1).values.unbind(-1)
    return first - second


def negative_entropy(log_probabilities: Tensor) -> Tensor:
    """Minus the entropy in nats, `(n,)`, as in Dream (arXiv 2508.15487)."""
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
)
register_unmasking = UNMASKINGS.register


def unmasking(spec: Spec) -> Unmasking:
    """Builds an order of unmasking from a name, or a mapping of `name` and options.

    Raises `ValueError` for an unknown one, and for options that it does not accept.
    """
    built: Unmasking = UNMASKINGS.build(spec)
    return built
