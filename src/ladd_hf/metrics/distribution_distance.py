"""Distances between the laws of sampled and real sequences of ids: sliced Wasserstein, and KL of token frequencies.

`evaluate.load("<this file>", module_type="measurement")` reads the imports line by line: no import spans two lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import evaluate
import numpy as np
from numpy.typing import ArrayLike, NDArray

from ladd_hf.metrics.bootstrap import Estimate, bootstrap_counts
from ladd_hf.metrics.measurement_info import IDS, measurement_info
from ladd_hf.utils.number_ranges import COUNT, NOT_NEGATIVE, SEED

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]

_RESAMPLES = 100

_DESCRIPTION = """\
The sliced 2-Wasserstein distance between sampled and real sequences, one-hot encoded position by position, and the \
KL divergence between their token frequencies.
"""

_INPUTS_DESCRIPTION = """\
Args:
    data: sampled sequences of ids, (N, S).

Returns:
    sliced_wasserstein: square root of the mean over random directions of the squared 2-Wasserstein distance of the \
projections.
    token_kl: KL(samples || references) of the token frequencies of all positions, in nats, of smoothed counts.
    sliced_wasserstein_stderr, token_kl_stderr: their standard errors, a bootstrap over samples.
    sliced_wasserstein_of_references, token_kl_of_references: the same between two halves of the references: what a \
perfect sample of that size scores, since both are above 0 for two finite samples of one law.
    projections, seed, pseudocount: the settings.
"""


def sliced_wasserstein(
    samples: ArrayLike,
    references: ArrayLike,
    embedding: ArrayLike | None = None,
    projections: int = 128,
    seed: int = 0,
    resamples: int = _RESAMPLES,
    vocab_size: int | None = None,
) -> Estimate:
    """Computes the sliced 2-Wasserstein distance of two sets of sequences (Bonneel et al., 2015).

    A sequence is the vector of its tokens' embeddings, position after position: `(S * V,)` one-hot, or `(S * E,)`. Each
    of `projections` directions is uniform on the unit sphere there; the distance is the square root of the mean over
    directions of W_2^2 between the projections. It is above 0 even for two finite samples of one law.

    Args:
        samples, references: `(N, S)` and `(R, S)` ids.
        embedding: `(V, E)` vectors of the ids; `None` for one-hot vectors.
        projections: number of directions.
        seed: of the directions, and of the bootstrap over samples.
        resamples: of the bootstrap; the references stay.
        vocab_size: V of one-hot vectors, on which the directions depend; by default as many as the ids need.

    Raises `ValueError` for ids that are not two-dimensional, whole, and in sequences of one length.
    """
    ours, theirs = _sequences(samples, references)
    COUNT.check("projections", projections)
    SEED.check("seed", seed)
    table = None if embedding is None else np.asarray(embedding, dtype=np.float64)
    largest = max(int(ours.max()), int(theirs.max()))
    if table is not None and (table.ndim != 2 or len(table) <= largest):
        raise ValueError(f"The embedding has shape {table.shape}; give (V, E) with V of {largest + 1} or more.")
    if vocab_size is not None and vocab_size <= largest:
        raise ValueError(f"`vocab_size` is {vocab_size}, but there are ids up to {largest}: give more.")
    # each direction has a stream of its own, so that more of them are these and others
    streams = np.random.SeedSequence(seed).spawn(projections)
    pairs = []
    for stream in streams:
        weights = _direction(stream, ours.shape[1], vocab_size or largest + 1, table)
        pairs.append((_projected(ours, weights), _projected(theirs, weights)))
    left, right = (np.stack(side) for side in zip(*pairs, strict=True))  # (P, N), (P, R)
    order, right = left.argsort(axis=1), np.sort(right, axis=1)
    ordered = np.take_along_axis(left, order, axis=1)
    levels = _levels(ordered.shape[1], right.shape[1])
    value = _distance(ordered, right, levels)
    if len(ours) < 2:
        return Estimate(value)
    drawn = [
        # a resample is sorted where its parent is
        _distance(np.stack([row.repeat(counts[at]) for row, at in zip(ordered, order, strict=True)]), right, levels)
        for counts in bootstrap_counts(len(ours), resamples, seed)
    ]
    return Estimate(value, float(np.std(drawn, ddof=1)))


def token_kl(
    samples: ArrayLike, references: ArrayLike, pseudocount: float = 0.5, seed: int = 0, resamples: int = _RESAMPLES
) -> Estimate:
    """Computes KL(p || q) in nats, p and q the frequencies of the ids in all samples, and in all references.

    Args:
        samples, references: `(N, S)` and `(R, S)` ids.
        pseudocount: added to the count of every id that occurs in either set, so that an id that only samples have
            costs a finite number; with 0 it costs infinity.
        seed, resamples: of the bootstrap over samples; the references stay.
    """
    ours, theirs = _sequences(samples, references)
    NOT_NEGATIVE.check("pseudocount", pseudocount)
    known, numbers = np.unique(np.concatenate([ours.ravel(), theirs.ravel()]), return_inverse=True)
    mine, other = numbers[: ours.size].reshape(ours.shape), numbers[ours.size :]
    real = np.bincount(other, minlength=len(known)) + pseudocount

    def divergence(counts: NDArray[Any] | None = None) -> float:
        weights = None if counts is None else np.repeat(counts, ours.shape[1])
        found = np.bincount(mine.ravel(), weights, minlength=len(known)) + pseudocount
        p, q = found / found.sum(), real / real.sum()
        some = p > 0
        with np.errstate(divide="ignore"):
            # a sum of numbers of 0 or more, which rounding does not make negative
            return float((p[some] * np.log(p[some] / q[some]) - p[some] + q[some]).sum() + q[~some].sum())

    value = divergence()
    if len(ours) < 2 or not np.isfinite(value):  # an infinite one has no error
        return Estimate(value)
    drawn = [divergence(counts) for counts in bootstrap_counts(len(ours), resamples, seed)]
    return Estimate(value, float(np.std(drawn, ddof=1)))


def between_halves(distance: Callable[..., Estimate], references: ArrayLike, **options: Any) -> Estimate:
    """Computes a distance between the references at even and at odd places: what it is at equal laws, for samples of
    that size. Raises `ValueError` for fewer than 2 references."""
    rows = np.asarray(references)
    if len(rows) < 2:
        raise ValueError(f"There are {len(rows)} references, which have no two halves: give 2 or more.")
    return distance(rows[1::2], rows[::2], **options)


def _sequences(samples: ArrayLike, references: ArrayLike) -> tuple[Ids, Ids]:
    found = []
    for name, given in (("samples", samples), ("references", references)):
        rows = np.asarray(given)
        if rows.ndim != 2 or not rows.size or rows.dtype.kind not in "iu" or rows.min() < 0:
            raise ValueError(
                f"The {name} have shape {rows.shape} and dtype {rows.dtype}; give ids of 0 or more, (sequences, "
                "length)."
            )
        found.append(rows.astype(np.int64))
    ours, theirs = found
    if ours.shape[1] != theirs.shape[1]:
        raise ValueError(
            f"The samples have {ours.shape[1]} tokens, the references {theirs.shape[1]}: give sequences of one length."
        )
    return ours, theirs


def _direction(stream: np.random.SeedSequence, length: int, vocab_size: int, table: Floats | None) -> Floats:
    """Returns what each id adds at each position to the projection on one direction: `(S, V)`."""
    size = vocab_size if table is None else table.shape[1]
    normal = np.random.default_rng(stream).standard_normal((length, size))
    normal /= np.linalg.norm(normal)
    return normal if table is None else normal @ table.T


def _projected(ids: Ids, weights: Floats) -> Floats:
    """Returns the projections of sequences, `(N,)`: no one-hot vector is made."""
    return weights[np.arange(ids.shape[1]), ids].sum(1)


def _levels(first: int, second: int) -> tuple[Ids, Ids, Floats]:
    """Returns the pieces of [0, 1] on which both quantile functions are constant: the place of each in the two sorted
    samples, and the pieces' lengths. Exact, in whole numbers of 1 / (N R)."""
    ends = np.unique(np.concatenate([np.arange(1, first + 1) * second, np.arange(1, second + 1) * first]))
    starts = np.concatenate([[0], ends[:-1]])
    return starts // second, starts // first, (ends - starts) / (first * second)


def _distance(ours: Floats, theirs: Floats, levels: tuple[Ids, Ids, Floats]) -> float:
    """Returns the root of the mean over rows of W_2^2 between sorted projections `(P, N)` and `(P, R)`."""
    mine, other, lengths = levels
    return float(np.sqrt((np.square(ours[:, mine] - theirs[:, other]) @ lengths).mean()))


class DistributionDistance(evaluate.Measurement):
    """Both distances of sequences from references: `DistributionDistance(references).compute(data=ids)`.

    Args:
        references: `(R, S)` ids, R of 2 or more.
        embedding, projections, seed, vocab_size: see [`sliced_wasserstein`].
        pseudocount: see [`token_kl`].
    """

    def __init__(
        self,
        references: ArrayLike,
        embedding: ArrayLike | None = None,
        projections: int = 128,
        seed: int = 0,
        pseudocount: float = 0.5,
        vocab_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.references, self.projections, self.draw = np.asarray(references), projections, seed
        self.options: dict[str, tuple[Callable[..., Estimate], dict[str, Any]]] = {
            "sliced_wasserstein": (
                sliced_wasserstein,
                {"embedding": embedding, "projections": projections, "seed": seed, "vocab_size": vocab_size},
            ),
            "token_kl": (token_kl, {"pseudocount": pseudocount, "seed": seed}),
        }
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MeasurementInfo:
        return measurement_info(_DESCRIPTION, _INPUTS_DESCRIPTION, IDS)

    def _compute(self, data: ArrayLike) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, (distance, options) in self.options.items():
            found |= distance(data, self.references, **options).named(name)
            found[f"{name}_of_references"] = between_halves(distance, self.references, **options).value
        pseudocount = self.options["token_kl"][1]["pseudocount"]
        return {**found, "projections": self.projections, "seed": self.draw, "pseudocount": pseudocount}
