"""Masking visible tokens again, so that a run can mend what it wrote: ReMDM (Wang et al. 2025, arXiv 2503.00307).

A step t -> s masks each visible token again with probability sigma, and reveals masked ones a little more often, so
that the share of masked tokens at s stays the noise schedule's. Limits: more tokens are drawn at once in each step,
apart from each other, so what it mends of a denoiser's errors must outweigh that: it takes many more steps than a run
without it. The law tends to the denoiser's where the rate falls as 1 / steps. Only tokens are masked again, never
latents.
"""

from __future__ import annotations

from collections.abc import Callable

from ..utils.number_ranges import SHARE
from ..utils.wrong_objects import check_number, is_one_of


def largest_rate(alpha_t: float, alpha_s: float) -> float:
    """sigma_max = min(1, (1 - alpha_s) / alpha_t), above which more would be masked at s than the schedule says."""
    return min(1.0, (1 - alpha_s) / alpha_t) if alpha_t > 0 else 1.0


def capped_rate(eta: float, alpha_t: float, alpha_s: float) -> float:
    """min(eta, sigma_max): ReMDM-cap."""
    return min(eta, largest_rate(alpha_t, alpha_s))


def rescaled_rate(eta: float, alpha_t: float, alpha_s: float) -> float:
    """eta sigma_max: ReMDM-rescale."""
    return eta * largest_rate(alpha_t, alpha_s)


def no_rate(eta: float, alpha_t: float, alpha_s: float) -> float:
    """0: what is visible stays."""
    return 0.0


REMASKINGS: dict[str, Callable[[float, float, float], float]] = {
    "none": no_rate,
    "cap": capped_rate,
    "rescale": rescaled_rate,
}


def check_remasking(name: str, eta: float, unmasking: str) -> None:
    """Raises `ValueError` for an unknown remasking, a rate that is none, and an order it does not go with."""
    if not is_one_of(name, REMASKINGS):
        raise ValueError(f"`remasking` {name!r} is unknown; give one of {list(REMASKINGS)}.")
    check_number("`remasking_rate`", eta)
    if eta not in SHARE or (eta > 0) != (name != "none"):
        raise ValueError(
            f"`remasking` is {name!r} and `remasking_rate` {eta}: give a kind and a rate above 0 and up to 1, or "
            "'none' and 0."
        )
    if name != "none" and unmasking != "ancestral":
        raise ValueError(
            f"`remasking` {name!r} goes with the ancestral law, whose step it changes, but `unmasking` is "
            f"{unmasking!r}: give 'ancestral', or no remasking."
        )
