"""The binary sawtooth: the synthetic distribution of the paper (arXiv 2510.18114), with its exact likelihood.

A sequence of S tokens hides one number: a shift u ~ U[0, 1]. Given u the tokens are independent, token i being 1 with
probability p_i(u) = 0.01 + 0.98 tri(2 (i / S + u)), a triangle wave tri(z) = 1 - |2 (z mod 1) - 1| of two periods. So
one latent variable explains all dependence between tokens, which is what a latent channel is meant to carry.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from ..utils.wrong_objects import check_number

FloatArray = NDArray[np.float64]

_LOWEST, _HIGHEST = 0.01, 0.99  # range of p_i(u)
_CHUNK = 1 << 20  # entries of a temporary array, 8 MiB of float64: bounded memory, and near the cache
_MOST_COUNT_VECTORS = 3**16  # enumerated for an exact entropy: a second or two
_STANDARD_ERROR_PER_TOKEN = 5e-5  # target in nats for an estimated entropy


class Entropy(NamedTuple):
    """Entropy of one sequence in nats, and the standard error of that number (0.0: exact)."""

    nats: float
    standard_error: float


@dataclass(frozen=True)
class SawtoothDistribution:
    """Binary sawtooth sequences of the paper's synthetic experiment (arXiv 2510.18114).

    Token ids are 0 and 1; a model of them has `vocab_size` 3, with `mask_token_id` 2.

    Args:
        length: S, the number of tokens of a sequence. A likelihood takes time of the order of S^3 per sequence, and a
            table of S^3 / 8 numbers (S^3 for odd S), which is comfortable up to about 512.

    Raises:
        ValueError: `length` is not an integer of 2 or more.
    """

    length: int

    vocab_size: ClassVar[int] = 3
    mask_token_id: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not isinstance(self.length, Integral) or self.length < 2:
            raise ValueError(
                f"`length` is {self.length!r}, but an integer of 2 or more is accepted: give the number of tokens of a "
                "sequence."
            )

    def probabilities(self, shifts: ArrayLike) -> FloatArray:
        """p_i(u), the probability that token i is 1 given the shift: `(...)` shifts to `(..., S)` float64."""
        shifts = np.asarray(shifts, dtype=np.float64)
        wave = 2 * (np.arange(self.length) / self.length + shifts[..., None])  # (..., S)
        p: FloatArray = _LOWEST + (_HIGHEST - _LOWEST) * (1 - np.abs(2 * (wave % 1) - 1))
        return p

    def sample(self, num_sequences: int, seed: int = 0) -> NDArray[np.uint8]:
        """Draws `(num_sequences, S)` uint8 tokens; row i depends on `seed` and i only, not on `num_sequences`."""
        return self._sample_with_shifts(num_sequences, seed)[0]

    def log_likelihood(self, sequences: ArrayLike) -> FloatArray:
        """log p(x), exact to rounding: `(N, S)` tokens to `(N,)` float64, in nats per sequence.

        Between two kinks of the triangle wave p(x | u) is a polynomial in u of degree S, so a Gauss-Legendre sum over
        each piece is the integral itself.

        Raises:
            ValueError: the sequences are empty, are not of shape `(N, S)`, or hold ids other than 0 and 1.
        """
        tokens = binary_sequences(sequences)
        if tokens.shape[1] != self.length:
            raise ValueError(
                f"The sequences have {tokens.shape[1]} tokens, but this distribution has {self.length}: use "
                f"`SawtoothDistribution({tokens.shape[1]})` or give sequences of that length."
            )
        log_odds, offset = self._mixture
        rows = max(1, _CHUNK // len(offset))
        parts = [
            _log_sum_exp(self._counts(tokens[start : start + rows]) @ log_odds + offset)
            for start in range(0, len(tokens), rows)
        ]
        return np.concatenate(parts)

    def entropy(self) -> Entropy:
        """The entropy of a sequence: exact for even S up to 32 and odd S up to 25, else a Monte Carlo estimate.

        The estimate has a fixed seed and a standard error of less than 1e-4 nats per token. It is computed once for
        each length in a process.
        """
        return _entropy(self)

    @property
    def copies(self) -> int:
        """Number of positions that share one p_i: for even S, i and i + S/2 do, since the wave has two periods."""
        return 2 if self.length % 2 == 0 else 1

    def _counts(self, tokens: NDArray[np.uint8]) -> FloatArray:
        """Counts ones among positions of equal p_i, a sufficient statistic of p(x): `(N, S)` to `(N, S / copies)`."""
        counts: FloatArray = tokens.reshape(len(tokens), self.copies, -1).sum(1, dtype=np.float64)
        return counts

    @functools.cached_property
    def _mixture(self) -> tuple[FloatArray, FloatArray]:
        """p(x) as a finite mixture over K shifts: log of weight times p(x | u_k) is `counts @ log_odds + offset`.

        Returns `log_odds` `(S / copies, K)` and `offset` `(K,)`.
        """
        shifts, weights = shift_quadrature(self.length)
        p = self.probabilities(shifts)[:, : self.length // self.copies]  # (K, S / copies)
        log_odds = np.ascontiguousarray((np.log(p) - np.log1p(-p)).T)
        return log_odds, np.log(weights) + self.copies * np.log1p(-p).sum(1)

    def _sample_with_shifts(self, num_sequences: int, seed: int) -> tuple[NDArray[np.uint8], FloatArray]:
        """Returns the sequences `(N, S)` and the shifts `(N,)` from which they were drawn."""
        generator = np.random.default_rng(seed)
        tokens = np.empty((num_sequences, self.length), np.uint8)
        shifts = np.empty(num_sequences)
        rows = max(1, _CHUNK // self.length)
        for start in range(0, num_sequences, rows):
            # One row after another from one stream, the shift first, so that a longer run begins with the shorter one.
            uniform = generator.random((min(rows, num_sequences - start), self.length + 1))
            here = slice(start, start + rows)
            shifts[here] = uniform[:, 0]
            tokens[here] = uniform[:, 1:] < self.probabilities(uniform[:, 0])
        return tokens, shifts


def binary_sequences(sequences: ArrayLike) -> NDArray[np.uint8]:
    """Returns the sequences as a uint8 array `(N, S)`; raises `ValueError` unless they are rows of zeros and ones."""
    try:
        array = np.asarray(sequences)
    except ValueError as error:  # raised by numpy for rows of different lengths
        raise ValueError(
            "The sequences differ in length or nesting, but one array of shape (N, S) is accepted: give sequences of "
            "one length."
        ) from error
    if array.size == 0:
        raise ValueError(
            f"The sequences are empty (shape {array.shape}), but one or more are accepted: give an array (N, S)."
        )
    if array.ndim != 2:
        raise ValueError(
            f"The sequences have shape {array.shape}, but an array of shape (N, S) is accepted: put a single sequence "
            "into a list, and flatten leading dimensions into one."
        )
    foreign = array[(array != 0) & (array != 1)]
    if foreign.size:
        raise ValueError(
            f"The sequences hold the token id {foreign[0]}, but 0 and 1 are accepted: leave out special tokens, and "
            f"sample until no mask token ({SawtoothDistribution.mask_token_id}) is left."
        )
    return array.astype(np.uint8)


def shift_quadrature(length: int) -> tuple[FloatArray, FloatArray]:
    """Returns shifts `(K,)` and weights `(K,)`, of sum 1, that integrate p(x | u) over u exactly for all x of S tokens.

    p(x | u) has period 1/2 in u and kinks at u = k/4 - i/S for integers k and i. These are the multiples of
    gcd(S, 4) / 4S. Between them it is a polynomial of degree S, for which n nodes with 2n - 1 >= S suffice.
    """
    pieces = 2 * length // math.gcd(length, 4)  # between u = 0 and u = 1/2
    nodes, weights = np.polynomial.legendre.leggauss(length // 2 + 1)  # on [-1, 1], weights summing to 2
    shifts = (np.arange(pieces)[:, None] + (1 + nodes) / 2) / (2 * pieces)  # (pieces, n)
    return shifts.ravel(), np.tile(weights / (2 * pieces), pieces)


def exact_entropy(distribution: SawtoothDistribution) -> Entropy:
    """Computes the entropy as a sum over all count vectors: 3^(S/2) for even S and 2^S for odd S.

    p(c) = sum_k left[c_left, k] right[c_right, k]: with the positions split into two halves, one matrix product gives
    all probabilities.
    """
    log_odds, offset = distribution._mixture
    half = len(log_odds) // 2
    left_counts, left_multiplicity = _count_vectors(half, distribution.copies)
    right_counts, right_multiplicity = _count_vectors(len(log_odds) - half, distribution.copies)
    left = np.exp(left_counts @ log_odds[:half] + offset)
    right = np.exp(right_counts @ log_odds[half:]).T
    nats = 0.0
    rows = max(1, _CHUNK // right.shape[1])
    for start in range(0, len(left), rows):
        p = left[start : start + rows] @ right  # of one sequence with these counts
        nats -= left_multiplicity[start : start + rows] @ (p * np.log(p)) @ right_multiplicity
    return Entropy(float(nats), 0.0)


def estimated_entropy(distribution: SawtoothDistribution, num_samples: int, seed: int = 0) -> Entropy:
    """Estimates H(x) = H(x | u) + I(x; u): the first term in closed form, the second by the mean of
    log p(x | u) - log p(x).

    Its variance is about 0.6 nats^2 at every length, whereas that of log p(x) grows with S.
    """
    tokens, shifts = distribution._sample_with_shifts(num_samples, seed)
    p = distribution.probabilities(shifts)
    conditional = np.where(tokens, np.log(p), np.log1p(-p)).sum(1)  # log p(x | u): (N,)
    information = conditional - distribution.log_likelihood(tokens)
    nats = distribution.length * _mean_token_entropy() + information.mean()
    return Entropy(float(nats), float(information.std(ddof=1) / math.sqrt(num_samples)))


@functools.cache
def _entropy(distribution: SawtoothDistribution) -> Entropy:
    groups = distribution.length // distribution.copies
    if (distribution.copies + 1) ** groups <= _MOST_COUNT_VECTORS:
        return exact_entropy(distribution)
    # One sample's standard deviation is below 1 nat.
    num_samples = math.ceil((1 / (_STANDARD_ERROR_PER_TOKEN * distribution.length)) ** 2)
    return estimated_entropy(distribution, max(num_samples, 1000))


def _mean_token_entropy() -> float:
    """H(x_i | u) in nats: the binary entropy averaged over p uniform on [0.01, 0.99], the triangle wave's range."""

    def antiderivative(p: float) -> float:  # of -p log p; the other half of the binary entropy mirrors it
        return p**2 / 4 - p**2 / 2 * math.log(p)

    return 2 * (antiderivative(_HIGHEST) - antiderivative(_LOWEST)) / (_HIGHEST - _LOWEST)


def _count_vectors(groups: int, copies: int) -> tuple[FloatArray, FloatArray]:
    """Returns all vectors of `groups` counts in 0..copies, `(n, groups)`, and how many sequences have each, `(n,)`."""
    levels = copies + 1
    counts = np.arange(levels**groups)[:, None] // levels ** np.arange(groups) % levels  # digits to the base `levels`
    ways = np.array([math.comb(copies, count) for count in range(levels)], dtype=np.float64)
    return counts.astype(np.float64), ways[counts].prod(1)


def _log_sum_exp(values: FloatArray) -> FloatArray:
    """Computes log(sum(exp(values))) over the last axis, overwriting `values` to save memory: `(N, K)` to `(N,)`."""
    highest: FloatArray = values.max(axis=1)
    values -= highest[:, None]
    highest += np.log(np.exp(values, out=values).sum(axis=1))
    return highest


def sawtooth_dataset(num_sequences: int, length: int = 32, seed: int = 0) -> datasets.Dataset:
    """Draws binary sawtooth sequences (arXiv 2510.18114) as a data set with the one column `input_ids`.

    Args:
        num_sequences: number of examples.
        length: S, tokens of an example.
        seed: of the random numbers. Example i depends on `seed` and i only, not on `num_sequences`.

    Returns:
        A dataset that stores one byte per token, in the format "torch": reading gives int64 tensors `(S,)`, and
        `(n, S)` for a slice. `with_format("numpy")` reads somewhat faster into numpy arrays.

    Raises:
        ValueError: `length` is not an integer of 2 or more, or `num_sequences` is invalid.
    """
    check_number("`num_sequences`", num_sequences, whole=True)
    tokens = SawtoothDistribution(length).sample(num_sequences, seed)
    # Straight from the buffer: `Dataset.from_dict` would take seconds to encode the rows one by one.
    column: Any = pa.FixedSizeListArray.from_arrays(pa.array(tokens.ravel()), length)
    return datasets.Dataset(pa.table({"input_ids": column})).with_format("torch")
