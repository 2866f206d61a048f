"""Codes of a text, one of them exchanged, and what is written from both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion.rng import RowGenerator
from ..models.chunks import even_chunks
from ..pipelines.pipeline_ladd import LaddPipeline
from ..utils.number_ranges import NumberRange
from .reading import ids_of, read_text, shown_text


@dataclass(frozen=True)
class TextCode:
    """A code of a text.

    Attributes:
        code: from 0.
        text: the tokens of its chunk; of a code of the whole text, nothing.
    """

    code: int
    text: str


@dataclass(frozen=True)
class Exchange:
    """Texts from a text's codes, before and after one was exchanged.

    Attributes:
        before, after: texts of their tokens.
        changed: True for each token that differs.
        here: True for each token of the exchanged code's chunk.
    """

    before: list[str]
    after: list[str]
    changed: list[bool]
    here: list[bool]


def text_codes(pipeline: LaddPipeline, text: str) -> list[TextCode]:
    """Returns the codes of a text, each with the tokens that it stands for.

    Raises `ValueError` for a text that cannot be encoded, and for a model without codes.
    """
    _check_codes(pipeline)
    codes = pipeline.encode(read_text(pipeline, text))[0].tolist()
    ids, of_whole = ids_of(pipeline, text), getattr(pipeline.model.config, "global_latents", 0)
    firsts, ends = (one[0].tolist() for one in even_chunks(torch.tensor([len(ids)]), len(codes) - of_whole))
    pieces = ["".join(shown_text(pipeline, ids[first:end])) for first, end in zip(firsts, ends, strict=True)]
    return [TextCode(code, piece) for code, piece in zip(codes, [""] * of_whole + pieces, strict=True)]


def exchanged(pipeline: LaddPipeline, text: str, place: int, code: int, seed: int = 0, **options: Any) -> Exchange:
    """Writes twice from a text's codes, the second time with another code at `place`, from 0.

    Both texts have the same random numbers, so that what differs comes from the code. `options` are those of a call.
    Raises `ValueError` for a place or a code that there is not.
    """
    _check_codes(pipeline)
    codes = pipeline.encode(read_text(pipeline, text))
    count, size = codes.shape[1], pipeline.model.config.codebook_size
    _from_zero(count).check("The place", place)
    _from_zero(size).check("The code", code)
    other = codes.clone()
    other[:, place] = code
    length = len(ids_of(pipeline, text))
    before, after = (_written(pipeline, one, length, seed, **options) for one in (codes, other))
    of_whole = getattr(pipeline.model.config, "global_latents", 0)
    first, end = (one[0].tolist() for one in even_chunks(torch.tensor([length]), count - of_whole))
    here = range(length) if place < of_whole else range(first[place - of_whole], end[place - of_whole])
    return Exchange(
        shown_text(pipeline, before),
        shown_text(pipeline, after),
        [one != two for one, two in zip(before, after, strict=True)],
        [number in here for number in range(length)],
    )


def drawn_code(pipeline: LaddPipeline, seed: int) -> int:
    """Returns a code drawn evenly from the codebook."""
    _check_codes(pipeline)
    size: int = pipeline.model.config.codebook_size
    return int(torch.randint(size, (), generator=torch.Generator().manual_seed(seed)))


def _check_codes(pipeline: LaddPipeline) -> None:
    kind = pipeline.model.config.latent_type
    if kind != "discrete":
        raise ValueError(f"The model has no codes (its latents are of the kind {kind!r}): take a Di-LADD.")


def _from_zero(count: int) -> NumberRange:
    return NumberRange(f"a whole number from 0 to {count - 1}", least=0, most=count - 1, whole=True)


def _written(pipeline: LaddPipeline, latents: Tensor, length: int, seed: int, **options: Any) -> list[int]:
    generator = RowGenerator.from_seed(seed, torch.zeros(1, dtype=torch.int64, device=pipeline.device))
    output = pipeline(latents=latents, length=length, generator=generator, output_type="seq", **options)
    ids: list[int] = output.sequences[0].tolist()
    return ids
