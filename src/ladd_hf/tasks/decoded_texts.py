"""Samples of a text task: their texts, and the ids that these were decoded from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase


class DecodedTexts(list[str]):
    """Texts of `(N, S)` ids without special tokens: a list of strings that keeps the ids.

    Attributes:
        ids: `(N, S)`.
        tokenizer: that decoded them.
    """

    def __init__(self, ids: Tensor, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(tokenizer.batch_decode(ids, skip_special_tokens=True))
        self.ids, self.tokenizer = ids, tokenizer

    def with_ends(self, end: str | None) -> list[str]:
        """Returns the texts with `end` where they have the tokenizer's end-of-sequence (or separator) token, such as
        another tokenizer's; without tokens that end texts, the texts as they are."""
        own = self.tokenizer.eos_token_id
        own = self.tokenizer.sep_token_id if own is None else own
        if end is None or own is None:
            return list(self)
        return [self._with_ends(row, own, end) for row in self.ids.tolist()]

    def _with_ends(self, row: list[int], own: int, end: str) -> str:
        runs = [(is_end, list(run)) for is_end, run in groupby(row, key=own.__eq__)]
        pieces = self.tokenizer.batch_decode([run for _, run in runs], skip_special_tokens=True)
        return "".join(end * len(run) if is_end else text for (is_end, run), text in zip(runs, pieces, strict=True))

    def content_ids(self) -> list[list[int]]:
        """Returns the ids of each text without special tokens."""
        return without_special(self.ids.tolist(), self.tokenizer)


def without_special(rows: Sequence[Sequence[int]], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Returns rows of ids without the tokenizer's special tokens."""
    special = set(tokenizer.all_special_ids)
    return [[token for token in row if token not in special] for row in rows]


def units_of(samples: Any, unit: str) -> list[Any]:
    """Returns samples as sequences of a unit: `character`, `word`, or `token`, an id that is not special; of samples
    that are ids alone, the ids."""
    if isinstance(samples, Tensor):
        return samples.tolist()
    if unit == "token":
        if not isinstance(samples, DecodedTexts):
            raise ValueError("The samples are texts without their ids, and have no tokens: give `unit` 'character'.")
        return samples.content_ids()
    return [text.split() for text in samples] if unit == "word" else list(samples)


def some_of(samples: Any, number: int) -> Any:
    """Returns a number of the samples, spread evenly over them, or all if there are no more; of a kind with them."""
    places = np.linspace(0, len(samples) - 1, min(number, len(samples))).round().astype(int).tolist()
    if len(places) == len(samples):
        return samples
    if isinstance(samples, DecodedTexts):
        return DecodedTexts(samples.ids[places], samples.tokenizer)
    return samples[places] if isinstance(samples, Tensor) else [samples[place] for place in places]


def ids_of(samples: Any) -> Tensor:
    """Returns the ids of samples, `(N, S)`. Raises `ValueError` for texts without theirs."""
    if isinstance(samples, Tensor):
        return samples
    if isinstance(samples, DecodedTexts):
        return samples.ids
    raise ValueError("The samples are texts without their ids: give the task's own samples, or ids.")
