"""[`token_blocks`]: turns a corpus of texts into examples of one length, on disk or streamed."""

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
from .special_tokens import SpecialTokens
from .text_layout import noted
from .transforms import passing_file, with_transform_applied

logger = logging.get_logger(__name__)

_VERSION = 2  # of the cached blocks: change it whenever the same texts give other blocks


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
    """Turns texts, one document per row, into examples of `length` tokens.

    * `"pack"`: all documents in one stream, each followed by the end-of-sequence token, cut every `length` tokens.
    * `"wrap"`: the same, with a beginning-of-sequence token at the start and an end-of-sequence token at the end of
      every block, as is usual for LM1B and OpenWebText.
    * `"pad"`: one document per example, padded; longer ones continue in further examples.

    Nothing is lost, except by `truncate` or `min_tokens`: a remainder that does not fill a block is carried over to
    the next batch of documents. Only the last block of a data set, or of each shard of a stream, may be incomplete.

    Args:
        dataset: a `Dataset`, an `IterableDataset`, or a dict of them by split.
        tokenizer: encodes the texts; special tokens that occur in a text are read as plain text.
        length: L, tokens of an example.
        column: the column with the texts.
        remainder: for `"pack"` and `"wrap"`, treatment of the incomplete last block: `"pad"` or `"drop"`.
        special_tokens: end documents with the end-of-sequence token, and in mode `"pad"` begin them with the
            beginning-of-sequence token; `None`: use those that the tokenizer has. Its CLS and SEP tokens are used in
            their place if necessary. `False` for a corpus whose rows are pieces of one text, such as text8.
        separator: for `"pack"` and `"wrap"`, a text after each document instead of the end-of-sequence token, such as
            `" "` for a tokenizer of characters that has none; `""` for nothing at all.
        truncate: for `"pad"`, truncate longer documents.
        min_tokens: examples with fewer tokens, special ones counted, are left out, with a warning about their number:
            with `"pad"` short documents, and short rests of long ones. A model with latents needs at least as many
            tokens as latents.
        fill: for `"pad"`, what fills up a block: `"padding"`, which is masked out, or `"eos"`, end-of-sequence tokens,
            which are scored, so that a model learns where its texts end.
        num_proc: processes that tokenize a `Dataset`. The blocks are the same for any number.
        load_from_cache_file: load a `Dataset`'s blocks from the cache if they exist. Blocks are never cached for a data
            set with a transform (`with_transform`), whose transformed texts are used, nor for a tokenizer that cannot
            be fingerprinted.

    Returns:
        For a `Dataset` a data set of memory-mapped `input_ids` (uint16 or int32) and, where a block may end in padding,
        `attention_mask` (bool), in the format "numpy". For an `IterableDataset` a [`BlockStream`] of the same.

    Raises:
        ValueError: an invalid `length`, `mode` or option, a special token that is needed but missing in the tokenizer,
            no such column, one without texts, a missing text, or not a single block.
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
    special = SpecialTokens(tokenizer, special_tokens, between)
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
    """Returns the `separator` of [`token_blocks`] that separates documents in this mode for any tokenizer.

    `None`, which uses the special tokens, for a tokenizer with an EOS token or a SEP token in its place, and in mode
    `"pad"`, which joins nothing; else `otherwise`.
    """
    return None if mode == "pad" or SpecialTokens(tokenizer, None, None).listed("eos") else otherwise


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
    """Writes blocks to an Arrow file. Texts are tokenized in parallel, if requested, and cut in one process.

    The mapped rows are ranges of the data set's rows, so that a batch is bounded by the size of its texts.
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
    """Returns a data set of batches of texts, as the first and end row of each."""
    sizes = text_sizes(dataset.data.column(column))
    if dataset._indices is not None:
        sizes = sizes[dataset._indices.column(0).to_numpy()]
    firsts, ends = np.array(batches_by_size(sizes), np.int64).reshape(-1, 2).T
    return datasets.Dataset.from_dict({"first": firsts, "end": ends}).with_format("numpy")


class _Names:
    """Names of cached results for a data set's texts.

    Results are cached unless something that determines them has no fingerprint, or the data set is not cached; then
    they are kept until the process ends. Results for texts in memory stay in memory.
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
        """Returns options of `Dataset.map` over ranges, for facts that matter besides the texts and the tokenizer."""
        name = _hash(*self.key, *facts) if self.whole else datasets.fingerprint.generate_random_fingerprint()
        options = {"new_fingerprint": name, "load_from_cache_file": self.use_cache}
        options |= {"batched": True, "batch_size": 1, "remove_columns": ["first", "end"]}
        if self.dataset.cache_files:
            options["cache_file_name"] = self.dataset._get_cache_file_path(name) if self.whole else passing_file()
        return options


def _remembered(left_out: int, blocks: datasets.Dataset) -> int:
    """Returns the number of texts that were left out when the blocks were cut, also for blocks from the cache.

    The number is stored in a file beside the blocks', if they have one.
    """
    if not blocks.cache_files:
        return left_out
    beside = Path(blocks.cache_files[0]["filename"]).with_suffix(".left_out")
    if left_out:
        written = beside.with_suffix(f".{os.getpid()}")
        written.write_text(str(left_out))
        written.replace(beside)  # atomic, for processes that read it
    return int(beside.read_text()) if beside.exists() else 0


def _nothing(layout: Layout) -> str:
    """Returns the error message for texts that give no block, with a remedy."""
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
    """Tokenizes a range of rows to a table of token ids, row by row."""

    def __init__(self, rows: datasets.Dataset, encoder: TextEncoder, column: str) -> None:
        self.rows, self.encoder, self.column = rows, encoder, column

    def __call__(self, batch: dict[str, Any]) -> pa.Table:
        ids, lengths = self.encoder(self.rows[int(batch["first"][0]) : int(batch["end"][0])][self.column])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        return pa.table({"input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids))})


class _StoredIds:
    """Reads documents that were tokenized before."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def __call__(self, column: pa.ChunkedArray) -> Documents:
        rows = column.combine_chunks()
        ids = rows.flatten().to_numpy(zero_copy_only=False)
        return Documents(ids.astype(self.dtype, copy=False), rows.value_lengths().to_numpy().astype(np.int64))


class _Cut:
    """Cuts a range of documents into a table of blocks; called in order, it carries the remainder over."""

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
    """Options of a mode."""

    length: int
    remainder: str
    truncate: bool
    min_tokens: int
    fill: str


def _packed(special: SpecialTokens, options: _Options) -> Layout:
    padding = special.padding(options.remainder)
    return Packed(options.length, special.separator(), [], [], padding, options.min_tokens)


def _wrapped(special: SpecialTokens, options: _Options) -> Layout:
    start, end = special.needed("bos"), special.needed("eos")
    padding = special.padding(options.remainder)
    return Packed(options.length, special.separator(), [start], [end], padding, options.min_tokens)


def _padded(special: SpecialTokens, options: _Options) -> Layout:
    kind, filler = (Filled, special.filling_end()) if options.fill == "eos" else (Padded, special.needed("pad"))
    ends = special.listed("bos"), special.listed("eos")
    return kind(options.length, filler, *ends, options.truncate, options.min_tokens)


_MODES: dict[str, Callable[[SpecialTokens, _Options], Layout]] = {"pack": _packed, "wrap": _wrapped, "pad": _padded}
_REMAINDERS = ("pad", "drop")
_FILLS = ("padding", "eos")


def _layout(
    special: SpecialTokens, length: int, mode: str, remainder: str, truncate: bool, min_tokens: int, fill: str
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
