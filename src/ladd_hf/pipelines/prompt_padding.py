"""Removal of padding from prompts that are given as ids without an attention mask."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from ..models.configuration_ladd import LaddConfig
from ..models.text_frame import TextFrame
from ..models.vocabulary import WRITTEN_ROLES, ids_of


def without_padding(
    rows: list[list[int]], config: LaddConfig, tokenizer: PreTrainedTokenizerBase | None
) -> list[list[int]]:
    """Returns the rows without the padding tokens at their ends.

    Raises `ValueError` for rows of equal length that begin or end with different numbers of padding tokens, if these
    tokens have another meaning too, such as the end of a text. (The longest row has no padding, so padding tokens
    common to all rows are text, as are the tokens that fill up the model's texts.)
    """
    frame = TextFrame.of(config)
    padding = {int(id) for one in (config, tokenizer) if (id := getattr(one, "pad_token_id", None)) is not None}
    meant = frame.ids.union(*(ids_of(one, role) for one in (config, tokenizer) for role in WRITTEN_ROLES))
    doubtful = (padding & meant) - {frame.fill}
    ends = [(_leading(row, doubtful), _leading(row[::-1], doubtful)) for row in rows]
    if len(set(map(len, rows))) == 1 and len(set(ends)) > 1:
        number = max(range(len(rows)), key=lambda row: sum(ends[row]))
        found = rows[number][0] if ends[number][0] else rows[number][-1]
        raise ValueError(
            f"The ids of row {number} begin or end with {found}, which is the padding token and another special token "
            "as well, so that there is no telling where the text is: give all that the tokenizer returned, with its "
            "`attention_mask`."
        )
    return [_stripped(row, padding - meant) for row in rows]


def _leading(row: Sequence[int], ids: set[int]) -> int:
    """Returns the number of leading tokens of a row that are among `ids`."""
    return next((place for place, one in enumerate(row) if one not in ids), len(row))


def _stripped(row: list[int], padding: set[int]) -> list[int]:
    real = [place for place, one in enumerate(row) if one not in padding]
    return row[real[0] : real[-1] + 1] if real else []
