"""Texts around a text's latents, and between those of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion.rng import RowGenerator
from ..pipelines.pipeline_ladd import LaddPipeline
from ..utils.number_ranges import COUNT, SHARE
from .reading import read_text, written


@dataclass(frozen=True)
class Mixture:
    """A text between two.

    Attributes:
        text: what was written.
        latents: `(M,)` codes or `(M, D)` vectors that it was written from.
        of_second: for codes, True where it is the second text's, and not the first one's too; `None` for vectors.
    """

    text: str
    latents: Tensor
    of_second: list[bool] | None


def mixed(pipeline: LaddPipeline, first: str, second: str, weight: float, seed: int = 0, **options: Any) -> Mixture:
    """Writes a text from latents between those of two texts: the first one's at weight 0, the second one's at 1.

    `options` are those of a call. Raises the errors of `LaddPipeline.interpolate`.
    """
    here, there = (read_text(pipeline, text) for text in (first, second))
    options = {"generator": _random(pipeline, seed, 1), **options}
    output: Any = pipeline.interpolate(here, there, weights=[weight], **options)
    (text,), (latents,) = written(output), output.latents
    if latents.ndim == 2:
        return Mixture(text, latents, None)
    own = pipeline.encode(here)[0]
    return Mixture(text, latents, (latents != own).tolist())


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
