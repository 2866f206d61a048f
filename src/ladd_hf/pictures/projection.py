"""Principal components: the plane in which points differ most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Projection:
    """Points in the plane of their first two principal components.

    Attributes:
        points: `(N, 2)` coordinates, of mean 0.
        shares: the shares of the variance that lie along the two axes.
    """

    points: NDArray[np.float64]
    shares: tuple[float, float]


def principal_plane(vectors: ArrayLike, weights: ArrayLike | None = None) -> Projection:
    """Projects `(N, D)` vectors to the plane of their largest variance.

    The sign of an axis is that in which its largest weight is positive, so that pictures of the same vectors are the
    same. With D = 1 the second coordinate is 0.

    Args:
        vectors: `(N, D)`.
        weights: `(N,)` how much a vector counts, all alike by default.

    Raises `ValueError` for fewer than two vectors, for vectors that are not finite, and for other weights.
    """
    given: NDArray[Any] = np.asarray(vectors, dtype=np.float64)
    if given.ndim != 2 or len(given) < 2 or not given.shape[1]:
        raise ValueError(f"The vectors have shape {given.shape}; give two or more, (vectors, size).")
    if not np.isfinite(given).all():
        raise ValueError("The vectors hold numbers that are not finite, which have no place in a picture.")
    counted = np.ones(len(given)) if weights is None else np.asarray(weights, dtype=np.float64)
    if counted.shape != (len(given),) or not np.isfinite(counted).all() or (counted < 0).any() or not counted.any():
        raise ValueError(
            f"The weights have shape {counted.shape}; give one for each of the {len(given)} vectors, none below 0 and "
            "not all 0."
        )
    share = counted / counted.sum()
    centred = given - share @ given
    _, lengths, directions = np.linalg.svd(np.sqrt(share)[:, None] * centred, full_matrices=False)
    signs = np.sign(np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1))
    axes = np.zeros((2, given.shape[1]))
    axes[: min(2, len(directions))] = (directions * signs)[:2]
    variances = np.zeros(2)
    variances[: min(2, len(lengths))] = lengths[:2] ** 2
    total = (lengths**2).sum()
    first, second = (float(one / total) if total else 0.0 for one in variances)
    return Projection(centred @ axes.T, (first, second))
