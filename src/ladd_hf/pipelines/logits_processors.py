"""Application of transformers' logits processors in the pipeline, to control single tokens."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, cast

import numpy as np
from torch import FloatTensor, LongTensor, Tensor
from transformers import LogitsProcessorList, SuppressTokensLogitsProcessor

from ..models.configuration_ladd import LaddConfig
from ..models.vocabulary import Vocabulary
from ..utils.wrong_objects import described


def logits_processors(
    given: Sequence[Any] | None, suppress_tokens: Sequence[int] | None, config: LaddConfig
) -> LogitsProcessorList:
    """Returns the processors of a run, token suppression last. Raises `ValueError` for ids outside the vocabulary."""
    if callable(given) and not isinstance(given, LogitsProcessorList):
        given = [given]
    several = [] if given is None else given
    wrong = [several] if isinstance(several, str) or not isinstance(several, Iterable) else several
    wrong = [one for one in wrong if not callable(one)]
    if wrong:
        raise ValueError(f"`logits_processor` holds {described(wrong[0])}; give a list of functions.")
    processors = LogitsProcessorList(several)
    banned = suppress_tokens.tolist() if isinstance(suppress_tokens, Tensor | np.ndarray) else suppress_tokens
    banned = [] if banned is None else list(banned) if isinstance(banned, Sequence) else [banned]
    if any(not isinstance(one, Integral) or not 0 <= one < config.vocab_size for one in banned):
        raise ValueError(f"`suppress_tokens` are {banned}; give ids from 0 to {config.vocab_size - 1}.")
    never = Vocabulary.of(config).never_written(config.vocab_size).nonzero()[:, 0].tolist()
    if len({*banned, *never}) == config.vocab_size:
        raise ValueError("`suppress_tokens` leave no token to write: ban fewer.")
    if banned:
        processors.append(SuppressTokensLogitsProcessor(banned))
    return processors


def process_logits(processors: LogitsProcessorList, logits: Tensor, tokens: Tensor, unmask: Tensor) -> Tensor:
    """Applies processors to the logits `(n, V)` at the n positions of `unmask` `(B, S)`.

    A processor is called as `processor(input_ids, scores)` with one line per position: the current tokens of its row,
    `(n, S)`, with the mask token where nothing is written yet, and the scores `(n, V)`. A processor with further
    parameters receives `positions` `(n,)`, the positions within the row.
    """
    if not processors or not len(logits):
        return logits
    rows, positions = unmask.nonzero(as_tuple=True)
    processed: Tensor | None = processors(
        cast(LongTensor, tokens[rows]), cast(FloatTensor, logits), positions=positions
    )
    if processed is None or processed.shape != logits.shape:
        raise ValueError("A logits processor returned no scores of the shape that it was given: return them all.")
    if processed.isneginf().all(-1).any():
        raise ValueError("The logits processors leave no token to write at some position: forbid fewer.")
    return processed
