"""Batches of token sequences, padded where their lengths differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..diffusion.step_counts import IGNORED_LABEL
from ..models.call_checks import check_length
from ..models.chunks import check_shortest
from ..models.vocabulary import Vocabulary
from ..utils.padding import padded
from ..utils.wrong_objects import described

# A column with one entry per latent, not per token.
_OF_LATENTS = "precomputed_latents"
# Padding values of columns with one entry per token; `input_ids` are padded with the padding token.
_PADDING = {"attention_mask": 0, "labels": IGNORED_LABEL}


class LaddCollator:
    """Stacks examples to `(B, S)` tensors, ids as int64; shorter texts are padded at their ends.

    Args:
        pad_token_id: id that pads `input_ids`; without it all texts must have the same length.
        min_tokens: least number of tokens of a text, without padding: M for a model with latents, set by
            [`LaddTrainer`]. Checked here, before the batch is on its device.
        max_tokens: greatest number of tokens of a text, without padding: the model's `max_position_embeddings`, set
            likewise.
        vocabulary: the model's, set likewise: the ids allowed in texts and in labels.

    Raises `ValueError` for texts of different lengths without a padding token, for texts with fewer tokens than
    `min_tokens`, with padding only, or with more than `max_tokens`, for several texts in one example, for ids outside
    of the vocabulary, for labels that the model never predicts, such as the mask token, for columns that are not
    numeric, and for columns that only some examples have.
    """

    def __init__(
        self,
        pad_token_id: int | None = None,
        min_tokens: int = 0,
        max_tokens: int | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        self.pad_token_id, self.min_tokens = pad_token_id, min_tokens
        self.max_tokens, self.vocabulary = max_tokens, vocabulary

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Returns a batch; `attention_mask` is added if something is padded."""
        _check_examples(examples)
        columns = {name: self._column(name, [example[name] for example in examples]) for name in examples[0]}
        _check_rows(columns)
        lengths = torch.tensor([len(ids) for ids in columns["input_ids"]])
        longest = int(lengths.max())
        if int(lengths.min()) < longest and "attention_mask" not in columns:
            columns["attention_mask"] = [torch.ones(length, dtype=torch.int64) for length in lengths.tolist()]
        real = _real_tokens(columns.get("attention_mask", [])) or lengths.tolist()
        if not all(real):
            raise ValueError(
                f"Example {real.index(0)} of a batch has an `attention_mask` of 0 for all of its tokens, so it is an "
                "empty text: filter such texts out."
            )
        if self.min_tokens or self.max_tokens is not None:
            check_shortest(min(real), self.min_tokens)
            check_length(max(real), self.max_tokens or max(real))
        batch = {name: self._batch(name, column, longest) for name, column in columns.items()}
        if self.vocabulary is not None:
            self._check_ids(batch, self.vocabulary)
        return batch

    @staticmethod
    def _check_ids(batch: dict[str, Tensor], vocabulary: Vocabulary) -> None:
        tokens, labels, mask = batch["input_ids"], batch.get("labels"), batch.get("attention_mask")
        scored = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask.bool()
        if labels is None:
            return vocabulary.check_text(tokens, scored, "The texts of a batch")
        vocabulary.check_ids(tokens, "The texts of a batch")
        scored = scored & (labels != IGNORED_LABEL)
        return vocabulary.check_text(torch.where(scored, labels, tokens), scored, "The labels of a batch")

    def _column(self, name: str, values: list[Any]) -> Tensor | list[Tensor]:
        """Returns a tensor `(B, ...)` if all arrays have the same length: stacking at once is ten times as fast."""
        if all(isinstance(value, np.ndarray) and value.shape == values[0].shape for value in values):
            return self._numbers(name, np.stack(values))
        return [self._numbers(name, value) for value in values]

    def _batch(self, name: str, column: Tensor | list[Tensor], longest: int) -> Tensor:
        if isinstance(column, Tensor) and (column.ndim == 1 or column.shape[1] == longest):
            return column
        short = [] if name == _OF_LATENTS else [len(row) for row in column if row.ndim and len(row) != longest]
        if not short:
            return torch.stack(list(column))
        return padded(list(column), self._filler(name, short[0], longest))

    def _filler(self, name: str, short: int, length: int) -> int:
        """Returns the padding value of a column. Raises `ValueError` if the column or the model has none."""
        if name not in ("input_ids", *_PADDING):
            raise ValueError(
                f"The column {name!r} has {short} entries where the batch's longest text has {length} tokens, "
                "and there is no telling what to pad it with: remove it, or give a `data_collator` of your own."
            )
        if self.pad_token_id is None:
            raise ValueError(
                f"The texts of a batch have {short} to {length} tokens, and there is no padding token: set "
                "`pad_token_id` in the model's configuration, pass a tokenizer that has one as `processing_class`, or "
                "make all texts equally long."
            )
        return _PADDING.get(name, self.pad_token_id)

    @staticmethod
    def _numbers(name: str, values: Any) -> Tensor:
        if isinstance(values, Tensor):
            tensor = values
        else:
            try:
                array = np.asarray(values)
            except ValueError as error:  # lists of different lengths in a list
                raise ValueError(
                    f"The column {name!r} holds lists of different lengths in one example: give one list of numbers "
                    "in each, such as one text's."
                ) from error
            if array.dtype.kind not in "biuf":
                raise ValueError(
                    f"The column {name!r} holds {array.dtype} values, not numbers: tokenize texts first, and remove "
                    "the columns that the model does not take."
                )
            tensor = torch.from_numpy(array)
        if name == _OF_LATENTS:
            return tensor.float()
        if name in ("input_ids", "labels") and tensor.is_floating_point():
            raise ValueError(f"The column {name!r} holds {tensor.dtype} values; ids are whole numbers: tokenize anew.")
        return tensor if tensor.is_floating_point() else tensor.long()


def _check_examples(examples: Any) -> None:
    """Raises `ValueError` unless all examples have the same columns, one text's ids each, of at least one token."""
    if not isinstance(examples, Sequence) or isinstance(examples, str) or not examples:
        raise ValueError(f"A batch is {described(examples)}; give a list of examples, one at least.")
    for number, example in enumerate(examples):
        if not isinstance(example, Mapping) or "input_ids" not in example:
            holds = f"the columns {sorted(map(str, example))}" if isinstance(example, Mapping) else described(example)
            raise ValueError(
                f"Example {number} of a batch is {holds}; an example is a dict with the text's `input_ids`: tokenize "
                "texts first, for instance by `token_blocks`, and prompts with completions by `prompt_completions`."
            )
        if different := sorted(set(example) ^ set(examples[0])):
            raise ValueError(
                f"The column {different[0]!r} is in some examples of a batch only: give it in all of them, or in none."
            )
        sizes = {name: _size(example[name]) for name in ("input_ids", *_PADDING) if name in example}
        if sizes["input_ids"] is None:
            raise ValueError(
                f"Example {number} of a batch has as `input_ids` {described(example['input_ids'])}; give a list of "
                "token ids."
            )
        if not sizes["input_ids"]:
            raise ValueError(f"Example {number} of a batch has no tokens: filter empty texts out.")
        for name, size in sizes.items():
            if size != sizes["input_ids"]:
                raise ValueError(
                    f"Example {number} of a batch has {sizes['input_ids']} `input_ids`, and its {name!r} are "
                    f"{described(example[name]) if size is None else size}: give one for each token, or remove the "
                    "column."
                )


def _check_rows(columns: Mapping[str, Tensor | list[Tensor]]) -> None:
    """Raises `ValueError` for per-token columns that are not one row of numbers per example."""
    for name in ("input_ids", *_PADDING):
        column = columns.get(name, [])
        for number, row in enumerate(column[:1] if isinstance(column, Tensor) else column):
            if row.ndim != 1:
                raise ValueError(
                    f"Example {number} of a batch has {name!r} of shape {tuple(row.shape)}; an example is one text: "
                    "give one list with a number for each token, and each text as an example of its own."
                )


def _real_tokens(masks: Tensor | list[Tensor]) -> list[int]:
    """Returns the number of tokens of each text, without padding."""
    if isinstance(masks, Tensor):
        return masks.bool().sum(1).tolist()
    return [int(mask.bool().sum()) for mask in masks]


def _size(values: Any) -> int | None:
    """Returns the number of entries of a column in an example; `None` for a number or nothing."""
    try:
        return len(values)
    except TypeError:
        return None
