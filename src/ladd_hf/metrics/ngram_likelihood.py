"""How likely generated texts are under an interpolated n-gram model of a corpus: a judge that needs no download.

`evaluate.load("<this file>", module_type="measurement")` reads the imports line by line: no import spans two lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from numpy.typing import NDArray

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
    h, and h' is h without its first character; below the empty context stands the uniform law over the alphabet.
    Each text starts without context.

    Args:
        texts: the corpus.
        order: n, the characters of the longest n-gram.

    Raises `ValueError` for a corpus without characters, an order below 1, and one too large for the alphabet.
    """

    def __init__(self, texts: Sequence[str], order: int = 6) -> None:
        self.alphabet = sorted(set().union(*texts))
        if not self.alphabet:
            raise ValueError("The corpus has no characters: give texts, of which one at least is not empty.")
        self.order, self.base = order, len(self.alphabet) + 1  # 0 stands for a character the corpus does not have
        if order < 1 or self.base**order >= 2**63:
            most = int(63 * math.log(2) / math.log(self.base))
            raise ValueError(f"`order` is {order}; with {self.base - 1} characters give one from 1 to {most}.")
        self._ids = {character: index for index, character in enumerate(self.alphabet, start=1)}
        ids, depth = self._characters(texts)
        self._contexts: list[tuple[NDArray, NDArray, NDArray]] = []  # of length n - 1: keys, c(h), T(h)
        self._grams: list[tuple[NDArray, NDArray]] = []  # of length n: keys, c(hw)
        for n in range(1, order + 1):
            keys, counts = np.unique(self._keys(ids, n)[depth >= n - 1], return_counts=True)
            contexts, first, distinct = np.unique(keys // self.base, return_index=True, return_counts=True)
            self._grams.append((keys, counts))
            self._contexts.append((contexts, np.add.reduceat(counts, first), distinct))

    def log_likelihood(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """log p of every character of the texts, one after the other, in nats: `(number of characters,)`."""
        ids, depth = self._characters(texts)
        p = np.full(len(ids), 1 / len(self.alphabet))
        for n in range(1, self.order + 1):
            keys = self._keys(ids, n)
            seen, distinct = (
                _look_up(self._contexts[n - 1][0], x, keys // self.base) for x in self._contexts[n - 1][1:]
            )
            known = (depth >= n - 1) & (seen > 0)
            counts = _look_up(*self._grams[n - 1], keys)
            p = np.where(known, (counts + distinct * p) / np.maximum(seen + distinct, 1), p)
        return np.log(p)

    def nats_per_character(self, texts: Sequence[str]) -> float:
        """Mean of -log p over all characters of the texts. Raises `ValueError` where there are none."""
        if not any(texts):
            raise ValueError("The texts have no characters: give texts, of which one at least is not empty.")
        return float(-self.log_likelihood(texts).mean())

    def _characters(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ids of all characters, and how many of its text stand before each."""
        ids = np.fromiter((self._ids.get(character, 0) for text in texts for character in text), np.int64)
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        ends = lengths.cumsum()
        return ids, np.arange(len(ids)) - np.repeat(ends - lengths, lengths)

    def _keys(self, ids: NDArray[np.int64], n: int) -> NDArray[np.int64]:
        """The n-gram that ends at each character, as one number; of use only where so many characters are there."""
        keys = np.zeros(len(ids), np.int64)
        for back in range(min(n, len(ids))):
            keys[back:] += ids[: len(ids) - back] * self.base**back
        return keys


def _look_up(keys: NDArray, values: NDArray, wanted: NDArray) -> NDArray:
    """The values of the wanted keys, 0 for those that are not among the sorted `keys`."""
    if not len(keys):
        return np.zeros_like(wanted)
    places = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], 0)


class NGramLikelihood(evaluate.Measurement):
    """Mean -log p of texts in nats per character under an [`NGramModel`] of a corpus.

    `NGramLikelihood(corpus_texts, order=6).compute(data=texts)` returns `nats_per_character` and
    `perplexity_per_character`. Texts below the corpus's own held-out figure are too typical, those above implausible.

    Raises `ValueError` as [`NGramModel`] does, and for texts without characters.
    """

    def __init__(self, texts: Sequence[str], order: int = 6, **kwargs: Any) -> None:
        self.model = NGramModel(texts, order)
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MeasurementInfo:
        return evaluate.MeasurementInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS_DESCRIPTION,
            features=datasets.Features({"data": datasets.Value("string")}),
        )

    def _compute(self, data: Sequence[str]) -> dict[str, float]:
        nats = self.model.nats_per_character(data)
        return {"nats_per_character": nats, "perplexity_per_character": math.exp(nats)}
