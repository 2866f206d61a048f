"""Latents in two dimensions, coloured by a property of theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .drawing import BASELINE, COLOUR_MAP, colour, new_figure
from .projection import Projection, principal_plane

_KINDS = 6  # properties in words that have a colour of their own
_AREA = 12.0  # of a point, in square points; of the average point, where they are sized
_OTHERS = "others"


def latents_figure(
    vectors: ArrayLike, properties: Sequence[Any] | NDArray[Any], name: str, sizes: ArrayLike | None = None
) -> Any:
    """Draws latents in the plane of their first two principal components.

    Args:
        vectors: `(N, D)` continuous latents, or the vectors of a codebook.
        properties: N numbers, shown by a colour scale, or N texts, such as the first character of each latent's text,
            of which the most frequent have a colour each.
        name: of the property.
        sizes: `(N,)` numbers to which the points' areas are proportional, such as the uses of each code; points of
            size 0 are not drawn, and the plane is that of the sized points.

    Returns a matplotlib `Figure`; needs the extra `plot`. Raises `ValueError` for what does not fit the vectors.
    """
    plane = principal_plane(vectors, sizes)
    number = len(plane.points)
    values = np.asarray(properties)
    if values.shape != (number,):
        raise ValueError(f"The properties have shape {values.shape}; give one for each of the {number} latents.")
    areas = np.full(number, _AREA)
    if sizes is not None:
        areas = np.asarray(sizes, dtype=np.float64)
        areas = areas * (3 * _AREA * (areas > 0).sum() / areas.sum())
    figure = new_figure(width=6.5, height=5)
    (axes,) = figure.axes
    if values.dtype.kind in "iufb":
        drawn = areas > 0
        points = plane.points[drawn].T
        scale = axes.scatter(*points, s=areas[drawn], c=values[drawn].astype(float), cmap=COLOUR_MAP, linewidths=0)
        figure.colorbar(scale, ax=axes, label=name)
    else:
        _draw_kinds(axes, plane, areas, values, name)
    axes.axis("equal")
    axes.set(**{f"{side}label": _axis(place, plane) for place, side in enumerate("xy")})
    return figure


def _draw_kinds(axes: Any, plane: Projection, areas: NDArray[Any], values: NDArray[Any], name: str) -> None:
    """Draws points of the most frequent kinds in a colour each, the others below them in grey."""
    texts = [str(value) for value in values]
    ranked = sorted(
        Counter(text for text, area in zip(texts, areas, strict=True) if area > 0).items(),
        key=lambda one: (-one[1], one[0]),
    )
    kinds = [text for text, _ in ranked[:_KINDS]]
    groups = {_OTHERS: BASELINE} if len(ranked) > _KINDS else {}
    groups |= {text: colour(place) for place, text in enumerate(kinds)}
    for text, shade in groups.items():
        chosen = [one not in kinds if text is _OTHERS else one == text for one in texts]
        drawn = np.array(chosen) & (areas > 0)
        axes.scatter(*plane.points[drawn].T, s=areas[drawn], color=shade, linewidths=0, alpha=0.7, label=text)
    axes.figure.legend(title=name, loc="outside right upper")


def _axis(place: int, plane: Projection) -> str:
    return f"principal component {place + 1} ({plane.shares[place]:.0%} of the variance)"
