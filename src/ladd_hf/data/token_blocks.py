"""[`token_blocks`]: a corpus of texts to examples of one length, on disk or streamed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from ..utils.wrong_objects import described
from .batching import batches_by_size, text_sizes
from .block_stream import BlockStream
from .encoding import Documents, TextEncoder, TokenArray
from .packing import Blocks, Filled, Layout, Packed, Padded, left_out_message
from .text_layout import noted
from .transforms import passing_file, with_transform_applied

logger = logging.get_logger(__name__)

_VERSION = 2  # of what is cached: another one for other blocks of the same texts


def token_blocks(
    dataset: Any,
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    mode: str = "pack",
    *,
    column: str = "text",
    remainder: str = "pad",
    special_tokens: bool | None = None,
    separator: str | None = None,
    truncate: bool = False,
    min_tokens: int = 1,
    fill: str = "padding",
    num_proc: int | None = None,
    load_from_cache_file: bool = True,
) -> Any:
    """Texts, one document per row, to examples of `length` tokens.

    * `"pack"`: all documents in one stream, each followed by the end-of-sequence token, cut every `length` tokens.
    * `"wrap"`: the same, with a beginning-of-sequence token before and an end-of-sequence token behind every block, as
      is usual for LM1B and OpenWebText.
    * `"pad"`: one document per example, padded; longer ones go on in further examples.

    Nothing is lost, unless `truncate` or `min_tokens` ask for it: what does not fill a block of one batch of documents
    begins the next batch's. The last block of a dataset, or of each shard of a stream, is the one that may be
    incomplete.

    Args:
        dataset: a `Dataset`, an `IterableDataset`, or a dict of them by split.
        tokenizer: special tokens that stand in a text are read as plain text.
        length: L, tokens of an example.
        column: the column with the texts.
        remainder: for `"pack"` and `"wrap"`, what becomes of the incomplete last block: `"pad"` or `"drop"`.
        special_tokens: whether documents are followed by the end-of-sequence token, and in mode `"pad"` begin with the
            beginning-of-sequence token; `None`: with those that the tokenizer has. Its CLS and SEP tokens stand in for
            them. `False` for a corpus whose rows are pieces of one text, such as text8.
        separator: for `"pack"` and `"wrap"`, a text behind each document in place of the end-of-sequence token, such as
            `" "` for a tokenizer of characters that has none; `""` for nothing at all.
        truncate: for `"pad"`, cut longer documents off.
        min_tokens: examples with fewer tokens, special ones counted, are left out, and a warning tells their number:
            with `"pad"` short documents, and short rests of long ones. A model with latents needs as many tokens as it
            has latents.
        fill: for `"pad"`, what fills a block up: `"padding"`, which no model sees, or `"eos"`, the end-of-sequence
            token again and again, which is scored, so that a model learns where its texts end.
        num_proc: processes that tokenize a `Dataset`. The blocks are the same for any number.
        load_from_cache_file: take a `Dataset`'s blocks from its cache, if they were made before. They never are for a
            data set with a transform (`with_transform`), whose texts are those that the transform gives, nor with a
            tokenizer that does not tell what it does.

    Returns:
        For a `Dataset` one of memory-mapped `input_ids` (uint16 or int32) and, where a block may end in padding,
        `attention_mask` (bool), in the format "numpy". For an `IterableDataset` a [`BlockStream`] of the same.

    Raises:
        ValueError: a `length`, `mode` or option that is not accepted, a special token that is needed and that the
            tokenizer does not have, no such column, one without texts, a missing text, or not a single block.
    """
    if num_proc is not None and (not isinstance(num_proc, int) or isinstance(num_proc, bool) or num_proc < 1):
        raise ValueError(f"`num_proc` is {num_proc!r}, but a number of processes, 1 or more, or None is accepted.")
    if isinstance(length, bool):
        raise ValueError(f"`length` is {length!r}, but an integer of 1 or more is accepted: give tokens per example.")
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ValueError(f"`tokenizer` is {described(tokenizer)}; give a tokenizer of transformers'.")
    encoder = TextEncoder(tokenizer)
    between = None if separator is None else encoder([separator]).ids.tolist()
    if separator and not between:
        raise ValueError(
            f"`separator` is {separator!r}, which is no token of this tokenizer, so documents would run into each "
            "other: give another text, or '' where they are pieces of one."
        )
    special = _SpecialTokens(tokenizer, special_tokens, between)
    layout = _layout(special, length, mode, remainder, truncate, min_tokens, fill)
    if isinstance(dataset, dict):
        kind = type(dataset) if all(isinstance(split, datasets.Dataset) for split in dataset.values()) else dict
        return kind(
            {
                name: _blocks_of(split, encoder, layout, column, num_proc, load_from_cache_file)
                for name, split in dataset.items()
            }
        )
    return _blocks_of(dataset, encoder, layout, column, num_proc, load_from_cache_file)


def separator_between(tokenizer: PreTrainedTokenizerBase, mode: str, otherwise: str = " ") -> str | None:
    """The `separator` of [`token_blocks`] by which documents in this mode are told apart whatever the tokenizer is.

    `None`, which leaves it to the special tokens, for a tokenizer with an EOS token or the SEP token that stands in for
    it, and in mode `"pad"`, which joins nothing; else `otherwise`.
    """
    return None if mode == "pad" or _SpecialTokens(tokenizer, None, None).listed("eos") else otherwise


def _blocks_of(
    dataset: Any, encoder: TextEncoder, layout: Layout, column: str, num_proc: int | None, use_cache: bool
) -> Any:
    if not isinstance(dataset, datasets.Dataset | datasets.IterableDataset):
        raise TypeError(
            f"`dataset` is a {type(dataset).__name__}, but a Dataset or an IterableDataset of the library `datasets`, "
            "or a dict of them, is accepted: see `datasets.Dataset.from_dict`."
        )
    if isinstance(dataset, datasets.Dataset):
        dataset = with_transform_applied(dataset)
    if dataset.column_names is not None and column not in dataset.column_names:
        raise ValueError(
            f"The data set has no column {column!r}, but {', '.join(map(repr, dataset.column_names))}: name the one "
            "with the texts (`column`)."
        )
    if isinstance(dataset, datasets.IterableDataset):
        return BlockStream(dataset, encoder, layout, column)
    return _mapped(dataset, encoder, layout, column, num_proc, use_cache)


def _mapped(
    dataset: datasets.Dataset, encoder: TextEncoder, layout: Layout, column: str, num_proc: int | None, use_cache: bool
) -> datasets.Dataset:
    """Blocks in an Arrow file. Texts are tokenized in parallel, if asked for, and cut in one process.

    What is mapped are ranges of rows, so that a batch is bounded by the size of its texts.
    """
    rows, names = dataset.with_format("arrow"), _Names(dataset, encoder, column, use_cache)
    ranges = _ranges(dataset, column)
    read: Callable[[pa.ChunkedArray], Documents] = encoder
    if num_proc is not None and num_proc > 1:
        tokens = datasets.List(datasets.Value(encoder.dtype.name))
        rows = ranges.map(
            _Tokenize(rows, encoder, column),
            features=datasets.Features({"input_ids": tokens}),
            num_proc=min(num_proc, max(1, len(ranges))),
            desc="Tokenizing",
            **names.options("tokens"),
        ).with_format("arrow")
        read, column = _StoredIds(encoder.dtype), "input_ids"
    cut = _Cut(rows, read, layout, column, encoder.dtype)
    blocks = ranges.map(
        cut,
        features=_features(layout, encoder.dtype),
        desc="Cutting into blocks",
        **names.options("blocks", {**vars(layout), "layout": type(layout).__name__}),
    )
    if not len(blocks):
        raise ValueError(f"The data set's {len(dataset)} texts {_nothing(layout)}")
    if left_out := _remembered(cut.left_out, blocks):
        logger.warning(left_out_message(left_out, layout))
    return noted(blocks, layout.frame).with_format("numpy")


def _ranges(dataset: datasets.Dataset, column: str) -> datasets.Dataset:
    """The rows of a data set in batches of texts, as a data set of where each begins and ends."""
    sizes = text_sizes(dataset.data.column(column))
    if dataset._indices is not None:
        sizes = sizes[dataset._indices.column(0).to_numpy()]
    firsts, ends = np.array(batches_by_size(sizes), np.int64).reshape(-1, 2).T
    return datasets.Dataset.from_dict({"first": firsts, "end": ends}).with_format("numpy")


class _Names:
    """How what is made of a data set's texts is named in its cache, and whether it is found again there.

    It is not where something decides that has no name. Then, as for a data set that caches nothing, it is kept until
    the process ends; what is made of texts in memory stays there.
    """

    def __init__(self, dataset: datasets.Dataset, encoder: TextEncoder, column: str, use_cache: bool) -> None:
        tokenizer, self.whole = encoder.fingerprint
        self.dataset, self.use_cache = dataset, use_cache and self.whole
        self.key = [dataset._fingerprint, tokenizer, column, _VERSION]
        if not self.whole:
            logger.warning(
                f"The blocks are made anew each time: the tokenizer ({type(encoder.tokenizer).__name__}) has parts of "
                "which nothing tells what they do, so blocks of an earlier run might be another one's."
            )

    def options(self, *facts: Any) -> dict[str, Any]:
        """Of `Dataset.map` over ranges, for what these facts decide beside the texts and the tokenizer."""
        name = _hash(*self.key, *facts) if self.whole else datasets.fingerprint.generate_random_fingerprint()
        options = {"new_fingerprint": name, "load_from_cache_file": self.use_cache}
        options |= {"batched": True, "batch_size": 1, "remove_columns": ["first", "end"]}
        if self.dataset.cache_files:
            options["cache_file_name"] = self.dataset._get_cache_file_path(name) if self.whole else passing_file()
        return options


def _remembered(left_out: int, blocks: datasets.Dataset) -> int:
    """How many texts were left out when blocks were cut: now, or before they were found in the cache.

    The number is kept in a file beside theirs, where there are any.
    """
    if not blocks.cache_files:
        return left_out
    beside = Path(blocks.cache_files[0]["filename"]).with_suffix(".left_out")
    if left_out:
        written = beside.with_suffix(f".{os.getpid()}")
        written.write_text(str(left_out))
        written.replace(beside)  # whole, for processes that read it
    return int(beside.read_text()) if beside.exists() else 0


def _nothing(layout: Layout) -> str:
    """What is wrong, and what to do, where texts give no block."""
    if layout.min_tokens > 1 and (layout.pads or isinstance(layout, Filled)):
        return f"all have fewer than {layout.min_tokens} tokens (`min_tokens`): give longer ones, or pack them."
    return (
        f"do not fill a single block of {layout.length} tokens: give more text, a smaller `length`, or "
        "`remainder='pad'`."
    )


def _hash(*facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def _features(layout: Layout, dtype: np.dtype[Any]) -> datasets.Features:
    columns = {"input_ids": datasets.List(datasets.Value(dtype.name), length=layout.length)}
    if layout.pads:
        columns["attention_mask"] = datasets.List(datasets.Value("bool"), length=layout.length)
    return datasets.Features(columns)


class _Tokenize:
    """A range of rows to a table of their token ids, row by row."""

    def __init__(self, rows: datasets.Dataset, encoder: TextEncoder, column: str) -> None:
        self.rows, self.encoder, self.column = rows, encoder, column

    def __call__(self, batch: dict[str, Any]) -> pa.Table:
        ids, lengths = self.encoder(self.rows[int(batch["first"][0]) : int(batch["end"][0])][self.column])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return pa.table({"input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))})


class _StoredIds:
    """Documents that were tokenized before."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def __call__(self, column: pa.ChunkedArray) -> Documents:
        rows = column.combine_chunks()
        ids = rows.flatten().to_numpy(zero_copy_only=False)
        return Documents(ids.astype(self.dtype, copy=False), rows.value_lengths().to_numpy().astype(np.int64))


class _Cut:
    """A range of documents to a table of blocks; called for one after the other, it carries over what is left."""

    def __init__(self, rows: datasets.Dataset, read: Any, layout: Layout, column: str, dtype: np.dtype[Any]) -> None:
        self.rows, self.read, self.layout, self.column = rows, read, layout, column
        self.carry: TokenArray = np.empty(0, dtype)
        self.left_out = 0

    def __call__(self, batch: dict[str, Any]) -> pa.Table:
        first, end = int(batch["first"][0]), int(batch["end"][0])
        documents = self.read(self.rows[first:end][self.column])
        blocks, self.carry = self.layout.cut(documents, self.carry, end == len(self.rows))
        self.left_out += blocks.left_out
        return _table(blocks, self.layout)


def _table(blocks: Blocks, layout: Layout) -> pa.Table:
    columns = {"input_ids": _fixed_size(blocks.ids)}
    if layout.pads:
        columns["attention_mask"] = _fixed_size(blocks.attention_mask)
    return pa.table(columns)


def _fixed_size(rows: Any) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), rows.shape[1])


# --- modes, by name ---


class _Options(NamedTuple):
    """What a mode may be told."""

    length: int
    remainder: str
    truncate: bool
    min_tokens: int
    fill: str


def _packed(special: _SpecialTokens, options: _Options) -> Layout:
    padding = special.padding(options.remainder)
    return Packed(options.length, special.separator(), [], [], padding, options.min_tokens)


def _wrapped(special: _SpecialTokens, options: _Options) -> Layout:
    start, end = special.needed("bos"), special.needed("eos")
    padding = special.padding(options.remainder)
    return Packed(options.length, special.separator(), [start], [end], padding, options.min_tokens)


def _padded(special: _SpecialTokens, options: _Options) -> Layout:
    kind, filler = (Filled, special.filling_end()) if options.fill == "eos" else (Padded, special.needed("pad"))
    ends = special.listed("bos"), special.listed("eos")
    return kind(options.length, filler, *ends, options.truncate, options.min_tokens)


_MODES: dict[str, Callable[[_SpecialTokens, _Options], Layout]] = {"pack": _packed, "wrap": _wrapped, "pad": _padded}
_REMAINDERS = ("pad", "drop")
_FILLS = ("padding", "eos")
_STAND_INS = {"bos": "cls", "eos": "sep"}


def _layout(
    special: _SpecialTokens, length: int, mode: str, remainder: str, truncate: bool, min_tokens: int, fill: str
) -> Layout:
    if not isinstance(length, Integral) or length < 1:
        raise ValueError(f"`length` is {length!r}, but an integer of 1 or more is accepted: give tokens per example.")
    if not isinstance(min_tokens, Integral) or not 1 <= min_tokens <= length:
        raise ValueError(
            f"`min_tokens` is {min_tokens!r}, but an integer from 1 to the `length` ({length}) is accepted: give the "
            "tokens that an example has at least."
        )
    known = {"mode": (mode, tuple(_MODES)), "remainder": (remainder, _REMAINDERS), "fill": (fill, _FILLS)}
    for name, (value, accepted) in known.items():
        if value not in accepted:
            raise ValueError(f"`{name}` is {value!r}, but one of {', '.join(map(repr, accepted))} is accepted.")
    if truncate and mode != "pad":
        raise ValueError(f"`truncate` cuts off documents of mode 'pad', and the mode is {mode!r}: leave it out.")
    if fill == "eos" and mode != "pad":
        raise ValueError(f"`fill` fills up documents of mode 'pad', and the mode is {mode!r}: leave it out.")
    if special.between is not None and mode == "pad":
        raise ValueError("`separator` stands between documents, which mode 'pad' does not join: leave it out.")
    return _MODES[mode](special, _Options(int(length), remainder, truncate, int(min_tokens), fill))


class _SpecialTokens:
    """The special tokens of a tokenizer that a mode asks for, `wanted` or not (`None`: those that there are).

    `between`: ids that separate documents instead.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, wanted: bool | None, between: list[int] | None) -> None:
        self.tokenizer, self.wanted, self.between = tokenizer, wanted, between

    def needed(self, name: str) -> int:
        token = self._find(name)
        if token is None:
            raise ValueError(
                f"The tokenizer has no {name.upper()} token, which this mode writes: "
                + (
                    "make it fit by `with_mask_token`, or choose `remainder='drop'`."
                    if name == "pad"
                    else f"name one of its tokens (`{name}_token` of `make_tokenizer`), or choose mode 'pack' or 'pad' "
                    "with `special_tokens=False`."
                )
            )
        return token

    def filling_end(self) -> int:
        """The end-of-sequence token, where blocks are filled with it."""
        if self.wanted is False:
            raise ValueError(
                "`fill` is 'eos', and `special_tokens` is False: a text that has no end-of-sequence token at its end "
                "is not filled up with them, so leave one of the two out."
            )
        return self.needed("eos")

    def listed(self, name: str) -> list[int]:
        if self.wanted is False:
            return []
        if self.wanted:
            return [self.needed(name)]
        token = self._find(name)
        return [] if token is None else [token]

    def separator(self) -> list[int]:
        return self.listed("eos") if self.between is None else self.between

    def padding(self, remainder: str) -> int | None:
        return self.needed("pad") if remainder == "pad" else None

    def _find(self, name: str) -> int | None:
        token: int | None = getattr(self.tokenizer, f"{name}_token_id")
        return self._find(_STAND_INS[name]) if token is None and name in _STAND_INS else token
