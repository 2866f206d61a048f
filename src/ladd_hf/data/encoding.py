"""Texts to token ids, many at once: ragged arrays instead of lists of lists."""

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

TokenArray = NDArray[Any]  # uint16 where the vocabulary fits, else int32


class Documents(NamedTuple):
    """Token ids of documents, one behind the other: `ids` `(T,)`, and how many each has, `lengths` `(N,)` int64."""

    ids: TokenArray
    lengths: NDArray[np.int64]


class TextEncoder:
    """Texts to ids without special tokens, as the tokenizer gives them, but that no text can write a special token.

    A tokenizer of single characters is applied as a lookup of bytes (see [`CharacterTable`]), tens of times as fast.
    Ids are uint16 where the vocabulary has at most 65,536 tokens, else int32.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.dtype: np.dtype[Any] = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.int32)
        self._backend = _plain_backend(tokenizer)
        self._table = character_table(tokenizer)

    def __call__(self, texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> Documents:
        """The ids of each text. Raises `ValueError` for a text that is missing (null) or can not be tokenized."""
        strings = _as_strings(texts)
        documents = None if self._table is None else self._table.look_up(strings, self.dtype)
        return self._tokenize(strings) if documents is None else documents

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """The name of what decides how texts are tokenized; see [`fingerprint_of`]."""
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
        except Exception as error:  # what tokenizers raises for characters that it has no token for
            raise ValueError(
                f"The tokenizer can not read a text of this batch ({error}): give a tokenizer with an unknown token or "
                "with bytes as tokens, or clean the texts of what is not in its vocabulary."
            ) from error
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        ids = np.fromiter(itertools.chain.from_iterable(encoded), self.dtype, int(lengths.sum()))
        return Documents(ids, lengths)


class CharacterTable:
    """A tokenizer as a table of ASCII bytes, for the texts where it maps each character by itself.

    Args:
        ids: `(256,)` id of each byte, -1 for a byte that sends its text to the tokenizer.
        pairs: `(256, 256)` bool, whether one byte may follow the other; `None` where each may.
    """

    def __init__(self, ids: NDArray[np.int64], pairs: NDArray[np.bool_] | None = None) -> None:
        self.ids = ids
        self.covered = ids >= 0
        self.pairs = None if pairs is None else pairs.ravel()

    def look_up(self, strings: pa.LargeStringArray, dtype: np.dtype[Any]) -> Documents | None:
        """The ids of these texts; `None` where a text is not all covered."""
        if not len(strings):
            return None
        _, offsets, characters = strings.buffers()
        ends = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1]
        data = np.frombuffer(characters or b"", np.uint8)[ends[0] : ends[-1]]
        if not self.covered[data].all() or not self._may_follow(data, ends[1:-1] - ends[0]):
            return None
        return Documents(self.ids.astype(dtype)[data], np.diff(ends))

    def _may_follow(self, data: NDArray[np.uint8], borders: NDArray[np.int64]) -> bool:
        """Whether all bytes may follow the ones before them; across the borders of documents anything may."""
        if self.pairs is None or len(data) < 2:
            return True
        allowed = self.pairs[data[:-1].astype(np.uint16) << 8 | data[1:]]
        inside = borders[(borders > 0) & (borders < len(data))]
        allowed[inside - 1] = True
        return bool(allowed.all())


# A normalizer that changes single characters, or runs of them: where it leaves all pairs of a text, it leaves the text.
_CHARACTER_OR_RUN = re.compile(r"\[[^\[\]]+\]\+?")


def character_table(tokenizer: PreTrainedTokenizerBase) -> CharacterTable | None:
    """The table of a fast tokenizer of single characters, `None` for one that may join characters.

    A tokenizer has one if no token but single characters consists of characters of the table, and its normalizer, if
    any, only changes single characters and runs. Each character and pair of characters is then put to the test: those
    that the tokenizer does not map one by one (two spaces that become one) are left to itself.
    """
    backend = _plain_backend(tokenizer)
    if backend is None or not _acts_on_runs(json.loads(backend.to_str())["normalizer"]):
        return None
    special = set(tokenizer.all_special_tokens)  # which no text can write
    written = {token: number for token, number in tokenizer.get_vocab().items() if token not in special}
    # byte-level tokenizers write a space as another character, so it is the decoder that tells what a token stands for
    single = {str(tokenizer.decode([number])): number for token, number in written.items() if len(token) == 1}
    table = {character: number for character, number in single.items() if len(character) == 1 and ord(character) < 128}
    if not table or any(len(token) > 1 and set(token) <= table.keys() for token in written):
        return None
    try:
        pairs = [left + right for left in table for right in table]
        encoded = dict(zip([*table, *pairs], _plain_ids(tokenizer, [*table, *pairs], backend), strict=True))
    except Exception:  # what tokenizers raises: this one refuses a pair of its own characters, so it does join them
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
    """A copy of a fast tokenizer's core that adds no special tokens and sees none in texts; `None` for a slow one, or
    one that is more than its core."""
    if encodes_by_itself(tokenizer):
        return None
    backend = copy.deepcopy(tokenizer.backend_tokenizer)
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


def _plain_ids(tokenizer: PreTrainedTokenizerBase, texts: list[str], backend: Any) -> list[list[int]]:
    if backend is not None:
        # a quarter faster than the tokenizer's own call, which also keeps track of where in the text a token stood
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
