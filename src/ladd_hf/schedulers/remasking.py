"""Remasking of visible tokens, so that a run can revise its output: ReMDM (Wang et al. 2025, arXiv 2503.00307).

A step t -> s remasks each visible token with probability sigma and reveals masked ones slightly more often, so that
the share of masked tokens at s still follows the noise schedule. Limits: each step draws more tokens at once,
independently, and the corrected errors of the denoiser must outweigh that, so it takes many more steps than a run
without remasking. The distribution of the samples approaches the denoiser's if the rate falls as 1 / steps. Latents are
never remasked.
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

# Maps alpha_t and alpha_s to the sigma of a step.
Remasking = Callable[[float, float], float]

_RATE = NumberRange("a rate above 0 and up to 1", least=0, most=1, without_ends=("least",))

REMASKINGS: Registry[Callable[..., Remasking]] = Registry("`remasking`")
register_remasking = REMASKINGS.register


def largest_rate(alpha_t: float, alpha_s: float) -> float:
    """Returns sigma_max = min(1, (1 - alpha_s) / alpha_t); a larger sigma would mask too many tokens at s."""
    return min(1.0, (1 - alpha_s) / alpha_t) if alpha_t > 0 else 1.0


@register_remasking("none")
@dataclass(frozen=True)
class NoRemasking(Options):
    """Leaves visible tokens as they are."""

    setting: ClassVar[str] = "remasking"

    def __call__(self, alpha_t: float, alpha_s: float) -> float:
        """Returns 0."""
        return 0.0


@dataclass(frozen=True)
class _Rated(Options):
    """Base of remaskings with a rate."""

    setting: ClassVar[str] = "remasking"

    rate: float = option(REQUIRED, _RATE)


@register_remasking("cap")
class CappedRemasking(_Rated):
    """ReMDM-cap. `rate` is eta, above 0 and up to 1."""

    def __call__(self, alpha_t: float, alpha_s: float) -> float:
        """min(eta, sigma_max)."""
        return min(self.rate, largest_rate(alpha_t, alpha_s))


@register_remasking("rescale")
class RescaledRemasking(_Rated):
    """ReMDM-rescale. `rate` is eta, above 0 and up to 1."""

    def __call__(self, alpha_t: float, alpha_s: float) -> float:
        """eta sigma_max."""
        return self.rate * largest_rate(alpha_t, alpha_s)


def remasking(spec: Spec, unmasking: Unmasking) -> Remasking:
    """Builds a remasking from a name, or a mapping of `name` and options.

    Raises `ValueError` for an unknown name, for invalid options, and for an `unmasking` other than the ancestral one.
    """
    built: Remasking = REMASKINGS.build(spec)
    if not isinstance(built, NoRemasking) and not isinstance(unmasking, AncestralUnmasking):
        raise ValueError(
            f"`remasking` {REMASKINGS.parsed(spec)[0]!r} goes with the ancestral law, whose step it changes, not with "
            f"{described(unmasking)}: give the `unmasking` 'ancestral', or no remasking."
        )
    return built
