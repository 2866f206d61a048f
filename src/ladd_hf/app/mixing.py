"""Texts around a text's latents, and between those of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion.rng import RowGenerator
from ..pipelines.interpolation import interpolate_latents
from ..pipelines.pipeline_ladd import LaddPipeline
from ..utils.number_ranges import COUNT, SHARE
from ..utils.rounding import round_half_up
from .reading import ids_of, read_text, written


@dataclass(frozen=True)
class Mixture:
    """A text between two.

    Attributes:
        text: what was written.
        latents: `(M,)` codes or `(M, D)` vectors that it was written from.
        of_second: for codes, True where it is the second text's; `None` for vectors.
    """

    text: str
    latents: Tensor
    of_second: list[bool] | None


def mixed(pipeline: LaddPipeline, first: str, second: str, weight: float, seed: int = 0, **options: Any) -> Mixture:
    """Writes a text from latents between those of two texts: the first one's at weight 0, the second one's at 1.

    Latents and length are those of `LaddPipeline.interpolate` at this weight. `options` are those of a call. Raises
    `ValueError` for a weight outside of [0, 1], and for texts that cannot be encoded.
    """
    SHARE.check("The share of the second text", weight)
    texts = [read_text(pipeline, text) for text in (first, second)]
    ends = [pipeline.encode(text) for text in texts]
    order = RowGenerator.from_seed(0, torch.zeros(1, dtype=torch.int64))  # that of `interpolate`
    weights = torch.tensor([weight], dtype=torch.float64)
    latents = interpolate_latents(ends[0], ends[1], weights, order)
    lengths = [len(ids_of(pipeline, text)) for text in (first, second)]
    length = round_half_up(lengths[0] + weight * (lengths[1] - lengths[0]))
    output = pipeline(latents=latents, length=length, generator=_random(pipeline, seed, 1), **options)
    (text,) = written(output)
    of_second = None
    if latents.ndim == 2:
        own = order_of(latents.shape[1])
        of_second = [one < weight for one in own]
    return Mixture(text, latents[0], of_second)


def order_of(count: int) -> list[float]:
    """Returns the weight above which each of `count` codes is the second text's."""
    order: list[float] = RowGenerator.from_seed(0, torch.zeros(1, dtype=torch.int64)).uniform(count)[0].tolist()
    return order


def varied(pipeline: LaddPipeline, text: str, strength: float, count: int, seed: int = 0, **options: Any) -> list[str]:
    """Writes variations of a text, from its latents noised to the time `strength`: 0 keeps them, 1 ignores them.

    Raises `ValueError` for a strength outside of [0, 1], a count below 1, and a text that cannot be encoded.
    """
    SHARE.check("The strength", strength)
    COUNT.check("The number of texts", count)
    generator = _random(pipeline, seed, count)
    return written(pipeline.variations(read_text(pipeline, text), strength, count, generator=generator, **options))


def _random(pipeline: LaddPipeline, seed: int, rows: int) -> RowGenerator:
    return RowGenerator.from_seed(seed, torch.arange(rows, device=pipeline.device))
