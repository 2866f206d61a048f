"""Masking visible tokens again, so that a run can mend what it wrote: ReMDM (Wang et al. 2025, arXiv 2503.00307).

A step t -> s masks each visible token again with probability sigma, and reveals masked ones a little more often, so
that the share of masked tokens at s stays the noise schedule's. Limits: more tokens are drawn at once in each step,
each independently, so what it mends of a denoiser's errors must outweigh that: it takes many more steps than a run
without it. The law tends to the denoiser's where the rate falls as 1 / steps. Only tokens are masked again, never
latents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ..utils.number_ranges import NumberRange
from ..utils.options import REQUIRED, Options, option
from ..utils.registry import Registry, Spec
from ..utils.wrong_objects import described
from .unmasking import AncestralUnmasking, Unmasking

# sigma of a step, from alpha_t and alpha_s.
Remasking = Callable[[float, float], float]

_RATE = NumberRange("a rate above 0 and up to 1", least=0, most=1, without_ends=("least",))

REMASKINGS: Registry[Callable[..., Remasking]] = Registry("`remasking`")
register_remasking = REMASKINGS.register


def largest_rate(alpha_t: float, alpha_s: float) -> float:
    """sigma_max = min(1, (1 - alpha_s) / alpha_t), above which more would be masked at s than the schedule says."""
    return min(1.0, (1 - alpha_s) / alpha_t) if alpha_t > 0 else 1.0


@register_remasking("none")
@dataclass(frozen=True)
class NoRemasking(Options):
    """Leaves visible tokens as they are."""

    setting: ClassVar[str] = "remasking"

    def __call__(self, alpha_t: float, alpha_s: float) -> float:
        """0."""
        return 0.0


@register_remasking("cap")
@dataclass(frozen=True)
class CappedRemasking(Options):
    """ReMDM-cap.

    Attributes:
        rate: eta, above 0 and up to 1.
    """

    setting: ClassVar[str] = "remasking"

    rate: float = option(REQUIRED, _RATE)

    def __call__(self, alpha_t: float, alpha_s: float) -> float:
        """min(eta, sigma_max)."""
        return min(self.rate, largest_rate(alpha_t, alpha_s))


@register_remasking("rescale")
@dataclass(frozen=True)
class RescaledRemasking(Options):
    """ReMDM-rescale.

    Attributes:
        rate: eta, above 0 and up to 1.
    """

    setting: ClassVar[str] = "remasking"

    rate: float = option(REQUIRED, _RATE)

    def __call__(self, alpha_t: float, alpha_s: float) -> float:
        """eta sigma_max."""
        return self.rate * largest_rate(alpha_t, alpha_s)


def remasking(spec: Spec, unmasking: Unmasking) -> Remasking:
    """Builds a remasking from a name, or a mapping of `name` and options.

    Raises `ValueError` for an unknown one, for options it does not accept, and for an order of unmasking that it does
    not combine with.
    """
    built: Remasking = REMASKINGS.build(spec)
    if not isinstance(built, NoRemasking) and not isinstance(unmasking, AncestralUnmasking):
        raise ValueError(
            f"`remasking` {REMASKINGS.parsed(spec)[0]!r} goes with the ancestral law, whose step it changes, not with "
            f"{described(unmasking)}: give the `unmasking` 'ancestral', or no remasking."
        )
    return built
