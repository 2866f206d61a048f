"""Likelihood of generated texts under an interpolated n-gram model of a corpus: a judge without downloads.

`evaluate.load("<this file>", module_type="measurement")` reads the imports line by line: no import spans two lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import evaluate
import numpy as np
from numpy.typing import NDArray

from ladd_hf.metrics.bootstrap import bootstrap_ratio
from ladd_hf.metrics.measurement_info import TEXT, measurement_info

_DESCRIPTION = """\
The mean negative log-likelihood of texts, in nats per character, under a character n-gram model with Witten-Bell \
interpolation, estimated on a corpus.
"""

_INPUTS_DESCRIPTION = """\
Args:
    data: texts, a list of strings, of which one at least is not empty.

Returns:
    nats_per_character: -log p over all characters of all texts, divided by their number.
    perplexity_per_character: its exponential.
    nats_per_character_stderr, perplexity_per_character_stderr: their standard errors, a bootstrap over texts; left \
out for a single text.
"""

_CITATION = """\
@article{witten1991zero,
    title = {The Zero-Frequency Problem: Estimating the Probabilities of Novel Events in Adaptive Text Compression},
    author = {Witten, Ian H. and Bell, Timothy C.},
    journal = {IEEE Transactions on Information Theory},
    volume = {37},
    year = {1991}
}
"""


class NGramModel:
    """Character n-gram model with Witten-Bell interpolation.

    p(w | h) = (c(hw) + T(h) p(w | h')) / (c(h) + T(h)): c counts occurrences, T(h) the distinct characters seen after
    h, and h' is h without its first character; the empty context falls back to the uniform law over the alphabet. Each
    text starts without context.

    An n-gram's key is its context's index, among the sorted n-1-grams of the corpus, times the number of characters,
    plus its last character: a number that stays small for any alphabet and order.

    Args:
        texts: the corpus.
        order: n, the number of characters of the longest n-gram.

    Raises `ValueError` for a corpus without characters, and an order below 1.
    """

    def __init__(self, texts: Sequence[str], order: int = 6) -> None:
        self.alphabet = sorted(set().union(*texts))
        if not self.alphabet:
            raise ValueError("The corpus has no characters: give texts, of which one at least is not empty.")
        if order < 1:
            raise ValueError(f"`order` is {order}; give a number of characters, 1 or more.")
        self.order, self.base = order, len(self.alphabet) + 1  # 0 stands for characters outside of the corpus
        self._ids = {character: index for index, character in enumerate(self.alphabet, start=1)}
        self._levels: list[_Level] = []
        ids, starts = self._characters(texts)
        contexts, number = np.zeros_like(ids), 1
        for _ in range(min(order, max(map(len, texts)))):  # no text has longer n-grams
            level = _Level.counted(contexts, ids, self.base, number)
            self._levels.append(level)
            number = len(level.keys)
            if len(self._levels) < order:
                contexts = _following(level.find(contexts, ids, self.base), starts)

    def log_likelihood(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Returns log p of every character of the texts, concatenated, in nats: `(number of characters,)`."""
        ids, starts = self._characters(texts)
        p = np.full(len(ids), 1 / len(self.alphabet))
        contexts = np.zeros_like(ids)
        for level in self._levels:
            grams = level.find(contexts, ids, self.base)
            counts, seen, distinct = (
                _taken(values, places)
                for values, places in ((level.counts, grams), (level.seen, contexts), (level.distinct, contexts))
            )
            p = np.where(seen > 0, (counts + distinct * p) / np.maximum(seen + distinct, 1), p)
            contexts = _following(grams, starts)
        return np.log(p)

    def nats(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Returns -log p of each text, `(N,)`. Raises `ValueError` without characters."""
        if not any(texts):
            raise ValueError("The texts have no characters: give texts, of which one at least is not empty.")
        text_of_character = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
        nats: NDArray[np.float64] = np.bincount(text_of_character, -self.log_likelihood(texts), len(texts)).astype(
            float
        )
        return nats

    def nats_per_character(self, texts: Sequence[str]) -> float:
        """Returns the mean of -log p over all characters of the texts. Raises `ValueError` without characters."""
        return float(self.nats(texts).sum() / sum(map(len, texts)))

    def _characters(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Returns the ids of all characters, and the index of the first one of each non-empty text."""
        ids = np.fromiter((self._ids.get(character, 0) for text in texts for character in text), np.int64)
        lengths = np.fromiter(filter(None, map(len, texts)), np.int64)
        return ids, lengths.cumsum() - lengths


class _Level(NamedTuple):
    """Counts of the corpus for one n: of n-grams, sorted `keys` and numbers of occurrences, `counts`, both `(grams,)`;
    of contexts, by index, c(h) `seen` and T(h) `distinct`, both `(contexts,)`."""

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]
    seen: NDArray[np.int64]
    distinct: NDArray[np.int64]

    @classmethod
    def counted(cls, contexts: NDArray[np.int64], ids: NDArray[np.int64], base: int, number: int) -> _Level:
        """Counts n-grams, given each character's context, one of `number` or -1 for none, and its id."""
        whole = contexts >= 0
        keys, counts = np.unique((contexts * base + ids)[whole], return_counts=True)
        seen = np.bincount(contexts[whole], minlength=number)
        return cls(keys, counts, seen, np.bincount(keys // base, minlength=number))

    def find(self, contexts: NDArray[np.int64], ids: NDArray[np.int64], base: int) -> NDArray[np.int64]:
        """Returns the index of the n-gram of each context and id, -1 for one that is not in the corpus."""
        keys = contexts * base + ids
        room = (len(self.seen) + 1) * base
        if room <= len(keys):  # a table is several times as fast as a search, and here no larger than the keys
            table = np.full(room, -1)  # its last `base` places are those of the context -1, counted from the end
            table[self.keys] = np.arange(len(self.keys))
            return table[keys]
        places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[places] == keys, places, -1)


def _following(grams: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the context of each character: the n-gram that ends before it, -1 for none, as at the start of a text."""
    contexts = np.roll(grams, 1)
    contexts[starts] = -1
    return contexts


def _taken(values: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the values at these places, 0 where a place is -1."""
    return np.where(places >= 0, values[places], 0)


class NGramLikelihood(evaluate.Measurement):
    """Mean -log p of texts in nats per character under an [`NGramModel`] of a corpus.

    `NGramLikelihood(corpus_texts, order=6).compute(data=texts)` returns `nats_per_character` and
    `perplexity_per_character`, each with its standard error (`..._stderr`). Values below that of held-out texts of the
    corpus indicate too typical texts, values above it implausible ones.

    Raises the errors of [`NGramModel`], and `ValueError` for texts without characters.
    """

    def __init__(self, texts: Sequence[str], order: int = 6, **kwargs: Any) -> None:
        self.model = NGramModel(texts, order)
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MeasurementInfo:
        return measurement_info(_DESCRIPTION, _INPUTS_DESCRIPTION, TEXT, citation=_CITATION)

    def _compute(self, data: Sequence[str]) -> dict[str, float]:
        nats, characters = self.model.nats(data), [len(text) for text in data]
        estimate = bootstrap_ratio(nats, characters)
        perplexity = bootstrap_ratio(nats, characters, np.exp)
        return estimate.named("nats_per_character") | perplexity.named("perplexity_per_character")
