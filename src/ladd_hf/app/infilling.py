"""Places of a text to write anew: marked, and written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..pipelines.pipeline_ladd import LaddPipeline
from ..pipelines.text_reading import require_masks
from .generation import View, views
from .reading import mask_of, read_text
from .settings import Settings


def marked(pipeline: LaddPipeline, text: str, start: int, end: int) -> str:
    """Returns a text with a mask in place of each token that the symbols from `start` to before `end` belong to.

    Raises `ValueError` if there is none.
    """
    found = [(first, last) for first, last in _spans(pipeline, text) if first < end and last > start]
    if not found or start >= end:
        raise ValueError("Nothing is selected: select a part of the text with the mouse, and mask it then.")
    mask, gap = mask_of(pipeline), "" if pipeline.tokenizer is not None else " "
    return text[: found[0][0]] + gap.join([mask] * len(found)) + text[found[-1][1] :]


def filled(pipeline: LaddPipeline, text: str, settings: Settings) -> Iterator[View]:
    """Yields what is shown after each step of a run that writes the masks of a text, and nothing else.

    Raises `ValueError` for a text without masks.
    """
    require_masks(text, mask_of(pipeline))
    own = settings.scheduled(pipeline)
    options: dict[str, Any] = {**settings.options(own), "prompt": read_text(own, text), "length": "prompt"}
    yield from views(own, **options)


def _spans(pipeline: LaddPipeline, text: str) -> list[tuple[int, int]]:
    """Returns the first and last place of the symbols of each token."""
    if pipeline.tokenizer is None:
        return [one.span() for one in re.finditer(r"\[MASK\]|[^\s\[]+", text)]
    if not pipeline.tokenizer.is_fast:
        raise ValueError(
            f"The tokenizer does not tell the places of its tokens: write {mask_of(pipeline)} into the text yourself."
        )
    found = pipeline.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True).offset_mapping
    return [(first, last) for first, last in found if first < last]
