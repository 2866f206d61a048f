"""Perplexity of generated texts under a causal language model.

`evaluate.load("<this file>", module_type="measurement")` reads the imports line by line: no import spans two lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import evaluate
import numpy as np
from numpy.typing import NDArray

from ladd_hf.metrics.bootstrap import bootstrap_ratio
from ladd_hf.metrics.causal_lm import CausalJudge
from ladd_hf.metrics.measurement_info import TEXT, measurement_info

_DESCRIPTION = """\
The perplexity of generated texts under a causal language model that did not generate them, in its own tokens.
"""

_INPUTS_DESCRIPTION = """\
Args:
    data: texts, a list of strings, of which one at least has two tokens.

Returns:
    perplexity: exp of -log p over all scored tokens of all texts, divided by their number, as the authors report it.
    mean_perplexity: the mean over texts of each text's own perplexity, as `evaluate`'s "perplexity" reports it.
    perplexity_stderr, mean_perplexity_stderr: their standard errors, a bootstrap over texts; left out for a single one.
    tokens: number of scored tokens.
    texts: number of texts with a scored token.
    judge: name of the model.

A text's first token (BOS, if the tokenizer adds one) is context and not scored. The end-of-sequence token is scored \
once, where it occurs first after that; further ones are padding.
"""


class TextNats(NamedTuple):
    """Scores of texts: -log p of each text's scored tokens in nats, and their number, both `(N,)`."""

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]


def text_nats(judge: CausalJudge, texts: Sequence[str], stride: int | None = None) -> TextNats:
    """Computes -log p of texts under a causal LM, in its own tokens.

    Args:
        judge: the model.
        texts: N strings; a judge's end-of-sequence token may be written in them, such as `<|endoftext|>`.
        stride: of the windows in which texts longer than the model's positions are read; see
            [`CausalJudge.log_likelihoods`].
    """
    rows = [_without_padding(row, judge.tokenizer.eos_token_id) for row in judge.token_ids(texts)]
    scored = [_scored(row, judge.tokenizer.eos_token_id) for row in rows]
    found = judge.log_likelihoods(rows, stride)
    nats = [-float(scores[places].sum()) for scores, places in zip(found, scored, strict=True)]
    return TextNats(np.array(nats), np.array([places.sum() for places in scored], dtype=np.int64))


def _scored(row: Sequence[int], end: int | None) -> NDArray[np.bool_]:
    """Returns the tokens after the first one that are scored, `(length - 1,)`: all but ends after the first in the row,
    which may be the row's first token."""
    ends = np.array([token == end for token in row], dtype=bool)
    scored: NDArray[np.bool_] = (~ends | (ends.cumsum() == 1))[1:]
    return scored


def _without_padding(row: list[int], end: int | None) -> list[int]:
    """Leaves out the ends after a row's first one that nothing follows: they are not scored, and nothing sees them."""
    scored = np.flatnonzero(_scored(row, end))
    return row[: scored[-1] + 2] if len(scored) else row[:1]


class GenerativePerplexity(evaluate.Measurement):
    """Perplexity of texts under a causal LM: `GenerativePerplexity("gpt2-large").compute(data=texts)`.

    Args:
        model: name on the Hub, folder or model of transformers; with an object, give its `tokenizer` as well.
        tokenizer, batch_size, max_length, dtype, device: see [`CausalJudge`].
        stride: see [`text_nats`].

    Raises the errors of [`CausalJudge`], and `ValueError` for texts without a single token to score.
    """

    def __init__(
        self,
        model: Any = "gpt2-large",
        tokenizer: Any = None,
        batch_size: int = 16,
        max_length: int | None = None,
        stride: int | None = None,
        dtype: Any = None,
        device: Any = None,
        **kwargs: Any,
    ) -> None:
        self.judge = CausalJudge(model, tokenizer, batch_size, max_length, dtype, device)
        self.stride = stride
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MeasurementInfo:
        return measurement_info(_DESCRIPTION, _INPUTS_DESCRIPTION, TEXT)

    def _compute(self, data: Sequence[str]) -> dict[str, Any]:
        found = perplexities(text_nats(self.judge, data, self.stride))
        return {
            **found["perplexity"].named("perplexity"),
            **found["mean_perplexity"].named("mean_perplexity"),
            "tokens": int(found["tokens"]),
            "texts": int(found["texts"]),
            "judge": self.judge.name,
        }


def perplexities(scores: TextNats) -> dict[str, Any]:
    """Returns `perplexity` and `mean_perplexity` as estimates, and the numbers `tokens` and `texts` behind them.

    Raises `ValueError` if no token is scored.
    """
    some = scores.tokens > 0
    if not some.any():
        raise ValueError(
            "The texts have no token that can be scored: give texts, of which one at least has two tokens."
        )
    return {
        "perplexity": bootstrap_ratio(scores.nats, scores.tokens, np.exp),
        "mean_perplexity": bootstrap_ratio(np.exp(scores.nats[some] / scores.tokens[some])),
        "tokens": int(scores.tokens.sum()),
        "texts": int(some.sum()),
    }
