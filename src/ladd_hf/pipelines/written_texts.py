"""Texts of the tokens that a run has written."""

from __future__ import annotations

from torch import Tensor
from transformers import PreTrainedTokenizerBase


def written_texts(
    tokenizer: PreTrainedTokenizerBase, tokens: Tensor, lengths: Tensor, mask_id: int, shows_masks: bool = False
) -> list[str]:
    """Returns the texts of `tokens` `(B, S)` up to their `lengths` `(B,)`, without special tokens.

    With `shows_masks`, for a run that was interrupted, the mask token is shown where nothing is written.
    """
    rows = [row[:end] for row, end in zip(tokens.tolist(), lengths.tolist(), strict=True)]
    if not shows_masks:
        return tokenizer.batch_decode(rows, skip_special_tokens=True)
    hidden = {*tokenizer.all_special_ids} - {mask_id}
    return tokenizer.batch_decode([[one for one in row if one not in hidden] for row in rows])
