"""Texts of the page as a pipeline takes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..pictures.frames import added_texts
from ..pipelines.inputs import prompt_ids
from ..pipelines.pipeline_ladd import LaddPipeline
from ..utils.wrong_objects import described

MASK = "[MASK]"


def mask_of(pipeline: LaddPipeline) -> str:
    """Returns what stands for a token to write."""
    found = None if pipeline.tokenizer is None else pipeline.tokenizer.mask_token
    return MASK if found is None else str(found)


def read_text(pipeline: LaddPipeline, text: str) -> str | list[int]:
    """Returns a text for a pipeline: itself, or, where there is no tokenizer, the ids that it consists of.

    Raises `ValueError` for a text without symbols, and for one that is not numbers where these are needed.
    """
    if not text.strip():
        raise ValueError("The text is empty: write one.")
    if pipeline.tokenizer is not None:
        return text
    words = re.findall(r"\[MASK\]|[^\s\[]+|\[", text)
    for word in words:
        if word != MASK and not word.isdecimal():
            raise ValueError(
                f"The text has {described(word)}, and this model has no tokenizer: give its tokens as numbers, such "
                f"as '3 0 {MASK} 5'."
            )
    return [pipeline.model.config.mask_token_id if word == MASK else int(word) for word in words]


def shown_text(pipeline: LaddPipeline, ids: Sequence[int]) -> list[str]:
    """Returns what each token adds to the text before it; the numbers where there is no tokenizer."""
    if pipeline.tokenizer is None:
        return [f"{one} " for one in ids]
    return added_texts(ids, pipeline.tokenizer)


def ids_of(pipeline: LaddPipeline, text: str) -> list[int]:
    """Returns the ids of a whole text, with the special tokens of the training texts. Raises `ValueError` as
    `read_text` does."""
    (ids,) = prompt_ids(read_text(pipeline, text), pipeline.tokenizer, pipeline.model.config, whole=True) or [[]]
    return ids


def written(output: Any) -> list[str]:
    """Returns the texts of a [`LaddPipelineOutput`]; their numbers where there is no tokenizer."""
    if output.texts is not None:
        return list(output.texts)
    rows = zip(output.sequences.tolist(), output.lengths.tolist(), strict=True)
    return [" ".join(map(str, ids[:length])) for ids, length in rows]
