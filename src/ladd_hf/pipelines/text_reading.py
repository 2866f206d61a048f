"""Texts that are given to a pipeline, as the ids its model is to read."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase

from ..models.text_frame import TextFrame


def read_texts(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, frame: TextFrame, whole: bool
) -> list[list[int]]:
    """The ids of each text, framed as a whole one or as the beginning of one; the tokenizer's own frame is left out.

    Spaces beside a mask token stay in the text, even where the tokenizer's mask token takes them in: what is written
    in its place need not begin with one.
    """
    reader = tokenizer
    if tokenizer.mask_token is not None and any(tokenizer.mask_token in text for text in texts):
        reader = _beside_spaces(tokenizer)
    framed = frame.whole if whole else frame.begun
    return [framed(list(reader(text, add_special_tokens=False)["input_ids"])) for text in texts]


def _beside_spaces(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """The tokenizer, or a copy whose mask token takes in no spaces, where it takes in some."""
    mask: Any = tokenizer.added_tokens_decoder.get(tokenizer.mask_token_id)
    if mask is None or not (mask.lstrip or mask.rstrip):
        return tokenizer
    reader = copy.deepcopy(tokenizer)
    plain = AddedToken(mask.content, single_word=mask.single_word, normalized=mask.normalized, special=True)
    reader.add_special_tokens({"mask_token": plain})
    return reader
