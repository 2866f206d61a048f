"""Texts to token ids, many at once: ragged arrays instead of lists of lists."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

TokenArray = NDArray[Any]  # uint16 where the vocabulary fits, else int32


class Documents(NamedTuple):
    """Token ids of documents, one behind the other: `ids` `(T,)`, and how many each has, `lengths` `(N,)` int64."""

    ids: TokenArray
    lengths: NDArray[np.int64]


class TextEncoder:
    """Texts to ids without special tokens, as the tokenizer gives them, but that no text can write a special token.

    A tokenizer of single characters (see `character_table`) is applied as a lookup of bytes, a hundred times as fast.
    Ids are uint16 where the vocabulary has at most 65,536 tokens, else int32.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.dtype = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.int32)
        self._unknown = np.iinfo(self.dtype).max
        self._backend = _plain_backend(tokenizer)
        self._table = character_table(tokenizer)
        if self._table is not None:
            # the last value means that a byte is no token of its own
            self._table = np.where(self._table < 0, self._unknown, self._table).astype(self.dtype)

    def __call__(self, texts: Sequence[str] | pa.Array | pa.ChunkedArray) -> Documents:
        """The ids of each text. Raises `ValueError` for a text that is missing (null)."""
        strings = _as_strings(texts)
        documents = self._lookup(strings)
        return self._tokenize(strings) if documents is None else documents

    def _lookup(self, strings: pa.LargeStringArray) -> Documents | None:
        """By table; nothing where a byte of the texts is not in it."""
        if self._table is None or len(strings) == 0:
            return None
        _, offsets, characters = strings.buffers()
        ends = np.frombuffer(offsets, np.int64)[strings.offset : strings.offset + len(strings) + 1]
        data = np.frombuffer(characters or b"", np.uint8)[ends[0] : ends[-1]]
        ids = self._table[data]
        return None if (ids == self._unknown).any() else Documents(ids, np.diff(ends))

    def _tokenize(self, strings: pa.LargeStringArray) -> Documents:
        if len(strings) == 0:
            return Documents(np.empty(0, self.dtype), np.empty(0, np.int64))
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


def character_table(tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int64] | None:
    """Ids `(256,)` by ASCII byte, -1 where there is none, of a tokenizer that maps each character by itself.

    Texts of these bytes alone are tokenized by looking them up. `None` for a tokenizer that may join characters, or of
    which that is not certain: it must be a fast tokenizer without a normalizer, no token but single characters may
    consist of characters of the table, and each pair of them must be tokenized to its two ids.
    """
    backend = _plain_backend(tokenizer)
    if backend is None or backend.normalizer is not None:
        return None
    vocabulary = tokenizer.get_vocab()
    written = {token: number for token, number in vocabulary.items() if token not in set(tokenizer.all_special_tokens)}
    # byte-level tokenizers write a space as another character, so it is the decoder that tells what a token stands for
    single = {str(tokenizer.decode([number])): number for token, number in written.items() if len(token) == 1}
    table = {character: number for character, number in single.items() if len(character) == 1 and ord(character) < 128}
    if not table or any(len(token) > 1 and set(token) <= table.keys() for token in written):
        return None
    pairs = [*table, *(left + right for left in table for right in table)]
    try:
        encoded = _plain_ids(tokenizer, pairs, backend)
    except Exception:  # what tokenizers raises: this one refuses a pair of its own characters, so it does join them
        return None
    if any(ids != [table[character] for character in pair] for pair, ids in zip(pairs, encoded, strict=True)):
        return None
    ids = np.full(256, -1, np.int64)
    for character, token in table.items():
        ids[ord(character)] = token
    return ids


def _plain_backend(tokenizer: PreTrainedTokenizerBase) -> Any:
    """A copy of a fast tokenizer's core that adds no special tokens and sees none in texts; `None` for a slow one."""
    if getattr(tokenizer, "backend_tokenizer", None) is None:
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


def fingerprint_of(tokenizer: PreTrainedTokenizerBase) -> str:
    """What decides how texts are tokenized, as a string: the same in every process, before and after use."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    special = sorted((name, str(token)) for name, token in tokenizer.special_tokens_map.items())
    if backend is None:
        return json.dumps([type(tokenizer).__name__, sorted(tokenizer.get_vocab().items()), special])
    description = json.loads(backend.to_str())
    # set by the last call of the tokenizer, and not by what it is
    description["truncation"] = description["padding"] = None
    return json.dumps([description, special], sort_keys=True)


def _as_strings(texts: Sequence[str] | pa.Array | pa.ChunkedArray) -> pa.LargeStringArray:
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    array = texts.cast(pa.large_string()) if isinstance(texts, pa.Array) else pa.array(texts, pa.large_string())
    if array.null_count:
        row = array.is_null().index(True).as_py()
        raise ValueError(
            f"Text {row} of this batch is missing (null), but a string is accepted: filter such rows out, for instance "
            "by `dataset.filter(lambda row: row['text'] is not None)`."
        )
    return array
