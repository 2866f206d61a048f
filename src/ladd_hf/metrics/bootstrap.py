"""Standard errors of scores: the bootstrap over samples (Efron, 1979), and the jackknife for counts of distinct things.

Samples are the unit that is drawn again: characters or tokens of one text are not independent of each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..utils.number_ranges import SEED, whole

Sample = TypeVar("Sample")
Floats = NDArray[np.float64]

RESAMPLES = 1000
_DRAWS = whole(2, "a whole number of at least 2")
_NUMBERS_AT_ONCE = 1 << 22  # 32 MiB of float64


@dataclass(frozen=True)
class Estimate:
    """A score with its standard error.

    Attributes:
        value: the score.
        stderr: its standard error; 0.0 for an exact number, `None` where it is not known, as of a single sample.
    """

    value: float
    stderr: float | None = None

    def named(self, name: str) -> dict[str, float]:
        """Returns `{name: value, name_stderr: stderr}`, without the second where it is not known."""
        return {name: self.value} | ({} if self.stderr is None else {f"{name}_stderr": self.stderr})


def bootstrap_counts(number: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yields, for each of `resamples` draws of `number` samples with replacement, how often each one is drawn,
    `(number,)`: multinomial counts. Raises `ValueError` for fewer than 2 draws, which have no spread,
    and an invalid seed."""
    _DRAWS.check("resamples", resamples)
    SEED.check("seed", seed)
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(random.integers(number, size=number), minlength=number)


def bootstrap_ratio(
    numerators: ArrayLike,
    denominators: ArrayLike | None = None,
    transform: Callable[[Floats], Floats] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Estimates a ratio of sums over samples, such as nats per token, or a mean.

    Args:
        numerators: `(N,)` one number per sample.
        denominators: `(N,)` weights of 0 or more, such as numbers of tokens; `None` for the mean of the numerators.
            Samples of weight 0 have nothing to measure, and are left out.
        transform: of the ratio, element by element, such as `numpy.exp` for a perplexity.
        resamples: draws of the bootstrap.
        seed: of these draws; the result does not depend on the samples' order.

    Raises `ValueError` for numbers that are not finite, weights that are all 0 or negative, and vectors that do not
    have one number per sample each.
    """
    above = np.asarray(numerators, dtype=np.float64)
    below = np.ones_like(above) if denominators is None else np.asarray(denominators, dtype=np.float64)
    if above.ndim != 1 or above.shape != below.shape:
        raise ValueError(
            f"The numerators and denominators have shapes {above.shape} and {below.shape}; give vectors with one "
            "number per sample."
        )
    for name, numbers in (("numerators", above), ("denominators", below)):
        if not np.isfinite(numbers).all():
            place = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise ValueError(f"The {name} hold {numbers[place]} at sample {place}: a score needs finite numbers.")
    if not (below >= 0).all() or not below.any():
        raise ValueError("The denominators are all 0, or negative; give weights of 0 or more, of which one is above 0.")
    above, below = above[below > 0], below[below > 0]
    order = np.lexsort((above, below))
    above, below = above[order], below[order]
    changed = transform or _same
    value = float(changed(np.atleast_1d(above.sum() / below.sum()))[0])
    if len(above) < 2:
        return Estimate(value)
    # every resample needs the two sums only, so that many are two matrix products
    at_once, draws, sums = max(1, _NUMBERS_AT_ONCE // len(above)), bootstrap_counts(len(above), resamples, seed), []
    for _ in range(math.ceil(resamples / at_once)):
        counts = np.stack(list(islice(draws, at_once))).astype(np.float64)
        sums.append((counts @ above) / (counts @ below))
    return Estimate(value, float(changed(np.concatenate(sums)).std(ddof=1)))


def _same(values: Floats) -> Floats:
    return values


def bootstrap_statistic(
    samples: Sequence[Sample], statistic: Callable[[list[Sample]], float], resamples: int = 200, seed: int = 0
) -> Estimate:
    """Estimates any statistic of a list of samples, which is computed `resamples` times.

    Only for statistics in which a sample that occurs twice counts twice: for numbers of distinct things, or distances
    to the nearest other sample, see [`jackknife`]. Raises `ValueError` for an empty list.
    """
    if not len(samples):
        raise ValueError("There are no samples to estimate from: give one or more.")
    value = float(statistic(list(samples)))
    if len(samples) < 2:
        return Estimate(value)
    draws = bootstrap_counts(len(samples), resamples, seed)
    values = [
        statistic([samples[place] for place in np.repeat(np.arange(len(samples)), counts).tolist()]) for counts in draws
    ]
    return Estimate(value, float(np.std(values, ddof=1)))


def jackknife(value: float, left_out: ArrayLike) -> Estimate:
    """Estimates a statistic by its values without each of the samples, `(N,)`: Tukey's standard error
    sqrt((N - 1) / N times their summed squared deviations)."""
    values = np.asarray(left_out, dtype=np.float64)
    if len(values) < 2:
        return Estimate(value)
    return Estimate(value, float(math.sqrt((len(values) - 1) * values.var())))


def held_by_one(samples: ArrayLike, things: ArrayLike, number: int) -> NDArray[np.int64]:
    """Returns, for each of `number` samples, how many things no other sample has, `(number,)`: without the sample there
    are so many fewer distinct things, as [`jackknife`] needs them.

    Args:
        samples, things: `(P,)` numbers of a sample and of a thing in it; a pair may occur several times.
        number: of samples.
    """
    pairs = np.unique(np.stack([np.asarray(things), np.asarray(samples)]), axis=1)  # (2, pairs), each once
    _, places, holders = np.unique(pairs[0], return_index=True, return_counts=True)
    return np.bincount(pairs[1][places[holders == 1]], minlength=number)
