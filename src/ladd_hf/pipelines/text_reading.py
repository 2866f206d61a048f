"""Tokenization of texts given to a pipeline."""

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
    """Returns the ids of each text with the special tokens of `frame`, at both ends if `whole`, else at the beginning.

    The tokenizer adds no special tokens of its own. Spaces next to a mask token are kept, even if the tokenizer's mask
    token absorbs them, because the tokens written in its place need not begin with one.
    """
    reader = tokenizer
    if tokenizer.mask_token is not None and any(tokenizer.mask_token in text for text in texts):
        reader = _beside_spaces(tokenizer)
    framed = frame.whole if whole else frame.begun
    return [framed(list(reader(text, add_special_tokens=False)["input_ids"])) for text in texts]


def require_masks(text: str, mask: str) -> None:
    """Raises `ValueError` for a text without a mask, in which nothing is to be written."""
    if mask not in text:
        raise ValueError(f"The text has no mask: put {mask} in place of each token that is to be written.")


def _beside_spaces(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Returns the tokenizer, or a copy with a mask token that does not absorb spaces if its own does."""
    mask: Any = tokenizer.added_tokens_decoder.get(tokenizer.mask_token_id)
    if mask is None or not (mask.lstrip or mask.rstrip):
        return tokenizer
    reader = copy.deepcopy(tokenizer)
    plain = AddedToken(mask.content, single_word=mask.single_word, normalized=mask.normalized, special=True)
    reader.add_special_tokens({"mask_token": plain})
    return reader
