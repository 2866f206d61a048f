"""Control over single tokens: transformers' logits processors, as this pipeline calls them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import FloatTensor, LongTensor, Tensor
from transformers import LogitsProcessorList, SuppressTokensLogitsProcessor

from ..configuration_ladd import LaddConfig


def logits_processors(
    given: Sequence[Any] | None, banned_tokens: Sequence[int] | None, config: LaddConfig
) -> LogitsProcessorList:
    """The processors of a run, those that ban tokens last. Raises `ValueError` for ids the model has not."""
    processors = LogitsProcessorList(given or [])
    banned = list(banned_tokens or [])
    if any(not 0 <= one < config.vocab_size for one in banned):
        raise ValueError(f"`banned_tokens` are {banned}; give ids from 0 to {config.vocab_size - 1}.")
    if len(set(banned) | {config.mask_token_id}) == config.vocab_size:
        raise ValueError("`banned_tokens` leave no token to write: ban fewer.")
    if banned:
        processors.append(SuppressTokensLogitsProcessor(banned))
    return processors


def process_logits(processors: LogitsProcessorList, logits: Tensor, tokens: Tensor, unmask: Tensor) -> Tensor:
    """Logits `(n, V)` at the n positions of `unmask` `(B, S)`, processed.

    A processor is called as `processor(input_ids, scores)` with a line for each position: the tokens of its row as they
    are, `(n, S)`, the mask token where nothing is written yet, and the scores `(n, V)`. One that takes more is given
    `positions` `(n,)`, the places in the row.
    """
    if not processors or not len(logits):
        return logits
    rows, positions = unmask.nonzero(as_tuple=True)
    processed = processors(cast(LongTensor, tokens[rows]), cast(FloatTensor, logits), positions=positions)
    if processed.isneginf().all(-1).any():
        raise ValueError("The logits processors leave no token to write at some position: forbid fewer.")
    return processed
