"""Cuts documents of any length into blocks of one length: packed, wrapped or padded, with nothing lost in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..models.text_frame import TextFrame
from .encoding import Documents, TokenArray


class Blocks(NamedTuple):
    """Examples of L tokens: `ids` `(n, L)`, and the number of text tokens of each, `lengths` `(n,)`; padding follows.

    `left_out` counts the blocks that were dropped because they had too little text.
    """

    ids: TokenArray
    lengths: NDArray[np.int64]
    left_out: int = 0

    @property
    def attention_mask(self) -> NDArray[np.bool_]:
        """`(n, L)`, true for text tokens."""
        mask: NDArray[np.bool_] = np.arange(self.ids.shape[1]) < self.lengths[:, None]
        return mask

    def take(self, rows: NDArray[np.int64]) -> Blocks:
        """Returns the blocks with these indices."""
        return Blocks(self.ids[rows], self.lengths[rows])

    def of_at_least(self, min_tokens: int) -> Blocks:
        """Returns the blocks with at least `min_tokens` tokens of text; the others are counted in `left_out`."""
        kept = self.lengths >= min_tokens
        if kept.all():
            return self
        return self.take(np.flatnonzero(kept))._replace(left_out=self.left_out + int((~kept).sum()))


class Layout(Protocol):
    """Cuts batch after batch of documents into blocks.

    A remainder that does not fill a block is returned as `carry`, to be passed with the next batch, so that the blocks
    do not depend on the batches of documents.
    """

    length: int
    min_tokens: int

    @property
    def pads(self) -> bool:
        """True if a block may end in padding."""
        ...

    @property
    def frame(self) -> TextFrame:
        """Frame of a text: its first, last and filling tokens."""
        ...

    def cut(self, documents: Documents, carry: TokenArray, last: bool) -> tuple[Blocks, TokenArray]:
        """Returns blocks of `carry` and these documents, and the new carry, which is empty if `last` is true."""
        ...


def left_out_message(number: int, layout: Layout) -> str:
    """Returns the message about blocks that had too little text."""
    return (
        f"{number:,} texts, or rests of longer ones, have fewer than {layout.min_tokens} tokens (`min_tokens`) and are "
        "left out."
    )


class Packed:
    """Packs documents into one stream, cut every L tokens.

    Args:
        length: L, tokens of a block.
        separator: ids after each document.
        start, end: first and last ids of each block, counted in L ("wrapped" blocks have one of each).
        pad_token_id: fills up the last block, which may be incomplete; `None` drops it.
        min_tokens: the last block is left out if it has fewer.
    """

    def __init__(
        self,
        length: int,
        separator: Sequence[int] = (),
        start: Sequence[int] = (),
        end: Sequence[int] = (),
        pad_token_id: int | None = None,
        min_tokens: int = 1,
    ) -> None:
        self.length, self.pad_token_id, self.min_tokens = length, pad_token_id, min_tokens
        self.separator, self.start, self.end = list(separator), list(start), list(end)
        self._text = _room_for_text(length, self.start, self.end)

    @property
    def pads(self) -> bool:
        """True if a block may end in padding."""
        return self.pad_token_id is not None

    @property
    def frame(self) -> TextFrame:
        """Frame of a block: its first and last tokens."""
        return TextFrame("wrap" if self.start or self.end else "pack", tuple(self.start), tuple(self.end))

    def cut(self, documents: Documents, carry: TokenArray, last: bool) -> tuple[Blocks, TokenArray]:
        """See [`Layout.cut`]."""
        # 1. One stream, of the carry and the new documents
        stream = np.concatenate([carry.astype(documents.ids.dtype), _surrounded(documents, [], self.separator).ids])
        # 2. Full blocks
        full = len(stream) // self._text
        rows = stream[: full * self._text].reshape(full, self._text)
        rest = stream[full * self._text :]
        lengths = np.full(full, self.length, np.int64)
        if not last:
            return Blocks(self._edged(rows), lengths), rest
        # 3. The incomplete block at the end of the stream
        if not len(rest) or self.pad_token_id is None:
            return Blocks(self._edged(rows), lengths), rest[:0]
        tail = np.concatenate([self.start, rest, self.end]).astype(rest.dtype)
        padded = np.full((1, self.length), self.pad_token_id, rest.dtype)
        padded[0, : len(tail)] = tail
        blocks = Blocks(np.concatenate([self._edged(rows), padded]), np.append(lengths, len(tail)))
        return blocks.of_at_least(self.min_tokens), rest[:0]

    def _edged(self, rows: TokenArray) -> TokenArray:
        """Adds the first and last ids of a block: `(n, text)` to `(n, L)`."""
        if not self.start and not self.end:
            return rows
        blocks = np.empty((len(rows), self.length), rows.dtype)
        blocks[:, : len(self.start)] = self.start
        blocks[:, len(self.start) : len(self.start) + self._text] = rows
        blocks[:, len(self.start) + self._text :] = self.end
        return blocks


class Padded:
    """Places one document per block, padded at its end; empty documents without `start` and `end` give no block.

    Args:
        length: L, tokens of a block.
        pad_token_id: fills up a block.
        start, end: first and last ids of each document.
        truncate: truncate longer documents (`end` is kept); otherwise they continue in further blocks, without loss.
        min_tokens: documents, and rests of longer ones, with fewer (`start` and `end` counted) are left out.
    """

    @property
    def pads(self) -> bool:
        """True: a block may end in padding."""
        return True

    @property
    def frame(self) -> TextFrame:
        """Frame of a document: its first and last tokens."""
        return TextFrame("pad", tuple(self.start), tuple(self.end))

    def __init__(
        self,
        length: int,
        pad_token_id: int,
        start: Sequence[int] = (),
        end: Sequence[int] = (),
        truncate: bool = False,
        min_tokens: int = 1,
    ) -> None:
        self.length, self.pad_token_id, self.truncate, self.min_tokens = length, pad_token_id, truncate, min_tokens
        self.start, self.end = list(start), list(end)
        self._text = _room_for_text(length, self.start, self.end)

    def cut(self, documents: Documents, carry: TokenArray, last: bool) -> tuple[Blocks, TokenArray]:
        """See [`Layout.cut`]; nothing is ever carried."""
        if self.truncate:
            documents = _truncated(documents, self._text)
        ids, lengths = _surrounded(documents, self.start, self.end)
        rows = -(-lengths // self.length)  # blocks of each document
        blocks = np.full(int(rows.sum()) * self.length, self.pad_token_id, ids.dtype)
        begins = (np.cumsum(rows) - rows) * self.length  # in `blocks`
        blocks[np.repeat(begins, lengths) + _places(lengths)] = ids
        within = _places(rows) * self.length  # offset of a block in its document
        filled = np.minimum(np.repeat(lengths, rows) - within, self.length)
        return Blocks(blocks.reshape(-1, self.length), filled).of_at_least(self.min_tokens), carry[:0]


class Filled(Padded):
    """The same, filled up with end-of-sequence tokens, which count as text and are scored, instead of padding."""

    @property
    def pads(self) -> bool:
        """False: a block is all text."""
        return False

    @property
    def frame(self) -> TextFrame:
        """Frame of a document: its first, last and filling tokens."""
        return TextFrame("pad", tuple(self.start), tuple(self.end), self.pad_token_id, self.length)

    def cut(self, documents: Documents, carry: TokenArray, last: bool) -> tuple[Blocks, TokenArray]:
        """See [`Layout.cut`]; nothing is ever carried."""
        blocks, carry = super().cut(documents, carry, last)
        return blocks._replace(lengths=np.full_like(blocks.lengths, self.length)), carry


def _room_for_text(length: int, start: list[int], end: list[int]) -> int:
    room = length - len(start) - len(end)
    if room < 1:
        raise ValueError(
            f"`length` is {length}, of which {len(start) + len(end)} are special tokens, but a block holds at least "
            "one token of text: give a greater length."
        )
    return room


def _places(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns 0, 1, ..., for each length: `(N,)` to `(sum of lengths,)`."""
    places: NDArray[np.int64] = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return places


def _surrounded(documents: Documents, start: list[int], end: list[int]) -> Documents:
    """Adds these ids at the beginning and the end of each document."""
    if not start and not end:
        return documents
    ids, lengths = documents
    longer = lengths + len(start) + len(end)
    ends = np.cumsum(longer)
    begins = ends - longer
    out = np.empty(int(longer.sum()), ids.dtype)
    is_text = np.ones(len(out), bool)
    for places, token in [
        *((begins + index, token) for index, token in enumerate(start)),
        *((ends - len(end) + index, token) for index, token in enumerate(end)),
    ]:
        out[places] = token
        is_text[places] = False
    out[is_text] = ids
    return Documents(out, longer)


def _truncated(documents: Documents, length: int) -> Documents:
    kept = _places(documents.lengths) < length
    return Documents(documents.ids[kept], np.minimum(documents.lengths, length))
