"""Absorbing diffusion of tokens and latent codes: noise, positions to unmask, exact draws. Paper, section 2."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..utils.number_ranges import COUNT
from ..utils.wrong_objects import check_number, described

# Rows of logits are processed in chunks of at most this many float64 numbers (128 MiB), to limit memory.
_DRAW_CHUNK = 1 << 24


def add_mask_noise(tokens: Tensor, alpha: Tensor, uniform: Tensor, mask_id: int) -> Tensor:
    """Replaces each token by the mask independently with probability 1 - alpha.

    Args:
        tokens: `(batch_size, length)` clean ids.
        alpha: `(batch_size,)` probability of staying visible.
        uniform: `(batch_size, length)` uniform numbers in [0, 1).
        mask_id: id of the mask token.
    """
    return torch.where(uniform < alpha[:, None], tokens, mask_id)


def uniform_with_a_mask(uniform: Tensor, alpha: Tensor, maskable: Tensor) -> tuple[Tensor, Tensor]:
    """Moves uniform numbers to their law given that at least one place is masked.

    That is given that the largest is at least alpha; below the largest the others stay evenly spread. The numbers
    change continuously with alpha.

    Args:
        uniform: `(batch_size, length)` uniform numbers in [0, 1).
        alpha: `(batch_size,)` probability of staying visible, below 1.
        maskable: `(batch_size, length)` bool, at least one place per row.

    Returns:
        The numbers, of which those that are not maskable mean nothing, and the probability `(batch_size,)` of it.
    """
    count = maskable.sum(1)
    largest = uniform.masked_fill(~maskable, 0).amax(1)
    nothing = alpha**count  # probability that all are visible
    raised = (nothing + (1 - nothing) * largest**count) ** (1 / count)
    raised = torch.maximum(raised, alpha)[:, None]  # rounding must not hide it
    top = largest[:, None]
    return torch.where(uniform == top, raised, uniform / top * raised), 1 - nothing


def stay_masked_probability(alpha_t: float, alpha_s: float, remask: float = 0.0) -> float:
    """Returns the probability that the reverse step t -> s leaves a position masked, (1 - alpha_s) / (1 - alpha_t).

    If the step also remasks visible positions, each with probability `remask` (sigma), it is
    (1 - alpha_s - sigma alpha_t) / (1 - alpha_t), which keeps the expected share of masked positions at s, as in
    ReMDM (arXiv 2503.00307).
    """
    return (1 - alpha_s - remask * alpha_t) / (1 - alpha_t) if alpha_t < 1 else 0.0


def draw_unmask(masked: Tensor, alpha_t: float, alpha_s: float, uniform: Tensor, remask: float = 0.0) -> Tensor:
    """Draws the masked positions that the reverse step t -> s reveals: `(batch_size, length)` bool.

    The probability does not depend on the denoiser's output, so the positions can be drawn before it runs. At
    alpha_s = 1 all masked positions are revealed.
    """
    return masked & (uniform >= stay_masked_probability(alpha_t, alpha_s, remask))


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Keeps the smallest set of most likely categories with a mass of at least `top_p`: `(n, K)`, not normalised."""
    ordered, order = probabilities.sort(dim=-1, descending=True)
    mass_before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(probabilities).scatter(-1, order, ordered * (mass_before < top_p))


def likeliest(logits: Tensor, top_k: int) -> Tensor:
    """Sets all logits `(n, K)` to minus infinity but the `top_k` largest of each row, and those equal to the least of
    them."""
    least = logits.topk(min(top_k, logits.shape[-1]), dim=-1).values[:, -1:]
    return logits.masked_fill(logits < least, -torch.inf)


@dataclass(frozen=True)
class TokenSampler:
    """Draws tokens from a denoiser's logits; one instance serves every step of a run.

    Attributes:
        temperature: divides the logits; 0 takes the most likely token, 1 is the model's own distribution.
        top_p: nucleus of the tempered distribution to draw from; 1 keeps all of it.
        top_k: number of most likely tokens to draw from, more if some are equally likely; `None` keeps all. The nucleus
            is one of these alone, as in transformers.

    Raises `ValueError` for a negative temperature, a `top_p` outside of (0, 1] or a `top_k` below 1.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None

    def __post_init__(self) -> None:
        check_number("`temperature`", self.temperature)
        check_number("`top_p`", self.top_p)
        if self.temperature < 0:
            raise ValueError(
                f"`temperature` is {self.temperature}; give 0 (greedy) or more, 1 for the model's own law."
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"`top_p` is {self.top_p}; give a mass above 0 and up to 1 (everything).")
        if self.top_k is not None and self.top_k not in COUNT:
            raise ValueError(
                f"`top_k` is {described(self.top_k)}; give a whole number of tokens of at least 1, or None for all of "
                "them."
            )

    def __call__(self, logits: Tensor, uniform: Tensor, evidence: Tensor | None = None) -> Tensor:
        """Draws one token per row: logits `(n, V)` and uniform numbers `(n,)` in [0, 1) to `(n,)` int64.

        `evidence` `(n, V)` is a part of the logits that the temperature leaves as it is: the log-likelihood of what has
        been observed of each category, where the rest is a law to be tempered.
        """
        if evidence is not None and self.temperature != 1:
            logits = logits - (1 - self.temperature) * evidence
        return draw_categorical(logits, uniform, self.temperature, self.top_p, self.top_k)


OWN_LAW = TokenSampler()


def draw_categorical(
    logits: Tensor, uniform: Tensor, temperature: float = 1.0, top_p: float = 1.0, top_k: int | None = None
) -> Tensor:
    """Draws one category per row by inverting the cumulative distribution in float64: exact far into the tails.

    Args:
        logits: `(n, K)`; a category at minus infinity is never drawn.
        uniform: `(n,)` float64 uniform numbers in [0, 1).
        temperature: divides the logits; 0 takes the most likely category.
        top_p: nucleus of the tempered distribution to draw from; 1 keeps all of it.
        top_k: number of most likely categories that this is a distribution of; `None` keeps all.

    Returns:
        `(n,)` int64 categories.
    """
    if temperature == 0:
        _check_finite(logits.amax(-1))  # amax returns nan if a row holds one
        return logits.argmax(-1)
    rows = max(1, _DRAW_CHUNK // logits.shape[-1])
    pieces = zip(logits.split(rows), uniform.split(rows), strict=True)
    return torch.cat([_draw_rows(part, u, temperature, top_p, top_k) for part, u in pieces])


def _draw_rows(logits: Tensor, uniform: Tensor, temperature: float, top_p: float, top_k: int | None) -> Tensor:
    logits = logits.double()
    if top_k is not None:
        logits = likeliest(logits, top_k)
    if temperature != 1:
        logits = (logits - logits.amax(-1, keepdim=True)) / temperature  # finite at any small temperature
    probabilities = torch.softmax(logits, dim=-1)  # (n, K)
    if top_p < 1:
        probabilities = nucleus(probabilities, top_p)
    distribution = probabilities.cumsum(-1)
    total = distribution[:, -1:]
    _check_finite(total)
    # uniform <= 1 - 2^-53, so the threshold stays below the total and selects a possible category.
    return torch.searchsorted(distribution, uniform[:, None] * total, right=True)[:, 0]


def _check_finite(values: Tensor) -> None:
    if not values.isfinite().all():
        raise ValueError(
            "The denoiser's logits hold nan, plus infinity or a row of minus infinities: no token can be drawn from "
            "them; look for the first non-finite weight or activation of the model."
        )
