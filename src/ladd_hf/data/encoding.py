"""Encoding of many texts to token ids at once: ragged arrays instead of lists of lists."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from .batching import batches_by_size, check_holds_texts, text_sizes
from .fingerprints import Fingerprint, encodes_by_itself, fingerprint_of
from .missing_texts import missing

TokenArray = NDArray[Any]  # uint16 if the vocabulary fits, else int32


class Documents(NamedTuple):
    """Token ids of documents, concatenated: `ids` `(T,)`, and the number of each document's, `lengths` `(N,)` int64."""

    ids: TokenArray
    lengths: NDArray[np.int64]


class TextEncoder:
    """Encodes texts without special tokens, as the tokenizer does, except that special tokens in a text are plain text.

    For a tokenizer of single characters this is a lookup of bytes (see [`CharacterTable`]), tens of times as fast.
    Ids are uint16 where the vocabulary has at most 65,536 tokens, else int32.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.dtype: np.dtype[Any] = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.int32)
        self._backend = _plain_backend(tokenizer)
        self._table = character_table(tokenizer)

    def __call__(self, texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> Documents:
        """Returns each text's ids. Raises `ValueError` for a text that is missing (null) or cannot be tokenized."""
        strings = _as_strings(texts)
        documents = None if self._table is None else self._table.look_up(strings, self.dtype)
        return self._tokenize(strings) if documents is None else documents

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """Name of all that determines how texts are tokenized; see [`fingerprint_of`]."""
        text, whole = fingerprint_of(self.tokenizer)
        return Fingerprint(hashlib.sha256(text.encode()).hexdigest()[:32], whole)

    def _tokenize(self, strings: pa.LargeStringArray) -> Documents:
        parts = [self._tokenized(strings[first:end]) for first, end in batches_by_size(text_sizes(strings))]
        if not parts:
            return Documents(np.empty(0, self.dtype), np.empty(0, np.int64))
        return Documents(*map(np.concatenate, zip(*parts, strict=True)))

    def _tokenized(self, strings: pa.LargeStringArray) -> Documents:
        try:
            encoded = _plain_ids(self.tokenizer, strings.to_pylist(), self._backend)
        except Exception as error:  # as tokenizers raises for characters without a token
            raise ValueError(
                f"The tokenizer cannot read a text of this batch ({error}): give a tokenizer with an unknown token or "
                "with bytes as tokens, or clean the texts of what is not in its vocabulary."
            ) from error
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        ids = np.fromiter(itertools.chain.from_iterable(encoded), self.dtype, int(lengths.sum()))
        return Documents(ids, lengths)


class CharacterTable:
    """A tokenizer as a table of ASCII bytes, for texts in which it maps each character separately.

    Args:
        ids: `(256,)` id of each byte, -1 for bytes whose texts are left to the tokenizer.
        pairs: `(256, 256)` bool, true if the second byte may follow the first; `None` if all may.
    """

    def __init__(self, ids: NDArray[np.int64], pairs: NDArray[np.bool_] | None = None) -> None:
        self.ids = ids
        self.covered = ids >= 0
        self.pairs = None if pairs is None else pairs.ravel()

    def look_up(self, strings: pa.LargeStringArray, dtype: np.dtype[Any]) -> Documents | None:
        """Returns the ids of these texts; `None` if a text is not covered."""
        if not len(strings):
            return None
        _, offsets, characters = strings.buffers()
        ends = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1]
        data = np.frombuffer(characters or b"", np.uint8)[ends[0] : ends[-1]]
        if not self.covered[data].all() or not self._may_follow(data, ends[1:-1] - ends[0]):
            return None
        return Documents(self.ids.astype(dtype)[data], np.diff(ends))

    def _may_follow(self, data: NDArray[np.uint8], borders: NDArray[np.int64]) -> bool:
        """True if all bytes may follow the ones before them within a document."""
        if self.pairs is None or len(data) < 2:
            return True
        allowed = self.pairs[data[:-1].astype(np.uint16) << 8 | data[1:]]
        inside = borders[(borders > 0) & (borders < len(data))]
        allowed[inside - 1] = True
        return bool(allowed.all())


# A normalizer of single characters, or of runs of them: if it changes no pair of a text, it does not change the text.
_CHARACTER_OR_RUN = re.compile(r"\[[^\[\]]+\]\+?")


def character_table(tokenizer: PreTrainedTokenizerBase) -> CharacterTable | None:
    """Returns the table of a fast tokenizer of single characters, `None` for one that may join characters.

    A tokenizer has one if no token longer than a character consists of characters of the table, and its normalizer, if
    any, changes only single characters and runs. Each character and each pair is then tested: those that the tokenizer
    does not map one by one (such as two spaces that become one) are left to it.
    """
    backend = _plain_backend(tokenizer)
    if backend is None or not _acts_on_runs(json.loads(backend.to_str())["normalizer"]):
        return None
    special = set(tokenizer.all_special_tokens)  # not encoded from texts
    written = {token: number for token, number in tokenizer.get_vocab().items() if token not in special}
    # byte-level tokenizers write a space as another character, so decode the token to find what it stands for
    single = {str(tokenizer.decode([number])): number for token, number in written.items() if len(token) == 1}
    table = {character: number for character, number in single.items() if len(character) == 1 and ord(character) < 128}
    if not table or any(len(token) > 1 and set(token) <= table.keys() for token in written):
        return None
    try:
        pairs = [left + right for left in table for right in table]
        encoded = dict(zip([*table, *pairs], _plain_ids(tokenizer, [*table, *pairs], backend), strict=True))
    except Exception:  # tokenizers' error for a pair of its own characters, so it joins them
        return None
    covered = {character: number for character, number in table.items() if encoded[character] == [number]}
    ids = np.full(256, -1, np.int64)
    allowed = np.zeros((256, 256), bool)
    for left, first in covered.items():
        ids[ord(left)] = first
        for right, second in covered.items():
            allowed[ord(left), ord(right)] = encoded[left + right] == [first, second]
    number = len(covered) ** 2
    return CharacterTable(ids, None if allowed.sum() == number else allowed) if covered else None


def _acts_on_runs(normalizer: dict[str, Any] | None) -> bool:
    if normalizer is None or normalizer["type"] == "Lowercase":
        return True
    if normalizer["type"] == "Sequence":
        return all(_acts_on_runs(step) for step in normalizer["normalizers"])
    if normalizer["type"] != "Replace":
        return False
    pattern = normalizer["pattern"]
    return len(pattern.get("String", "  ")) == 1 or bool(_CHARACTER_OR_RUN.fullmatch(pattern.get("Regex", "")))


def _plain_backend(tokenizer: PreTrainedTokenizerBase) -> Any:
    """Returns a copy of a fast tokenizer's core without special tokens; `None` for a slow tokenizer, or one that does
    more than its core."""
    if encodes_by_itself(tokenizer):
        return None
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


def _plain_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str], backend: Any) -> list[list[int]]:
    if backend is not None:
        # a quarter faster than the tokenizer's own call, which also computes offsets
        return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
    encoded: list[list[int]] = tokenizer(
        texts, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False, verbose=False
    )["input_ids"]
    return encoded


def _as_strings(texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> pa.LargeStringArray:
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    try:
        array = texts if isinstance(texts, pa.Array) else pa.array(texts)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"A text of this batch holds half a character (the lone surrogate {error.object[error.start]!a}), which is "
            "no text that can be written: replace it, for instance by `text.encode('utf-16', 'surrogatepass')"
            ".decode('utf-16', 'replace')`."
        ) from error
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:  # values of several kinds
        raise ValueError(
            f"The column to tokenize holds other things than texts ({error}), but strings are accepted."
        ) from error
    check_holds_texts(array.type)
    array = array.cast(pa.large_string())
    if array.null_count:
        row = array.is_null().index(True).as_py()
        raise missing(f"Text {row} of this batch")
    return array
