"""Prompts as ids that are padded, with no mask to tell where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..configuration_ladd import LaddConfig
from ..text_frame import TextFrame

_ROLES = ("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "unk_token_id")


def without_padding(
    rows: list[list[int]], config: LaddConfig, tokenizer: PreTrainedTokenizerBase | None
) -> list[list[int]]:
    """The rows without the padding tokens at their ends, which a tokenizer has made them equally long with.

    Raises `ValueError` for rows of one length that begin or end with padding tokens which mean something else as well.
    """
    padding = {int(id) for one in (config, tokenizer) if (id := getattr(one, "pad_token_id", None)) is not None}
    meant = TextFrame.of(config).ids.union(*(_ids(one, role) for one in (config, tokenizer) for role in _ROLES))
    if len(set(map(len, rows))) == 1:
        for number, row in enumerate(rows):
            if doubtful := padding & meant & {*row[:1], *row[-1:]}:
                raise ValueError(
                    f"The ids of row {number} begin or end with {doubtful.pop()}, which is the padding token and "
                    "another special token as well, so that there is no telling where the text is: give all that the "
                    "tokenizer returned, with its `attention_mask`."
                )
    return [_stripped(row, padding - meant) for row in rows]


def _ids(owner: Any, role: str) -> Sequence[int]:
    value = getattr(owner, role, None)
    return [] if value is None else [value] if isinstance(value, int) else value


def _stripped(row: list[int], padding: set[int]) -> list[int]:
    real = [place for place, one in enumerate(row) if one not in padding]
    return row[real[0] : real[-1] + 1] if real else []
