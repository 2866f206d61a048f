"""Blocks of a streamed corpus: shuffled, shared among processes, and resumed in the middle."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.utils.data
from datasets import IterableDataset
from transformers.utils import logging

from .batching import batched_texts
from .encoding import TextEncoder, TokenArray
from .packing import Blocks, Layout, left_out_message

logger = logging.get_logger(__name__)

_DOCUMENTS = 128  # that are tokenized at once; of long ones fewer
_READ = 8  # documents that are read at once


class _Place(NamedTuple):
    """Where reading stands: `shard` counts the shards of this pass, `source` is the state of that shard's stream."""

    shard: int
    source: dict[str, Any] | None
    carry: TokenArray


class _Position(NamedTuple):
    """The block that was given out last: `passed` epochs before this one, `seen` blocks of the epoch before the window
    (number `window`, which begins at `place`), and the window's first `given` blocks are done with. `reader` is who has
    read them: a process or data loader worker of how many that share the blocks."""

    epoch: int
    passed: int
    window: int
    place: _Place
    seen: int
    given: int
    reader: tuple[int, int] | None


class BlockStream(torch.utils.data.IterableDataset):
    """Examples of one length out of a streamed corpus: rows with `input_ids` `(L,)`, and `attention_mask` `(L,)` where
    a block may end in padding, as numpy arrays.

    Every shard of the corpus (a file, as a rule) is cut by itself, so the blocks are the same however many processes
    share them. What does not fill a block is carried over to the next batch of documents. Texts that are too short for
    the layout are left out; after the first pass a warning tells how many.

    With data loader workers, or after `split`, shards are shared out where there are enough of them for everyone;
    otherwise everyone reads all and keeps every n-th block. Either way each block is seen exactly once.

    `state_dict` is the place of the last block given out by this process (it counts what a data loader has fetched
    ahead, and in workers there is one for each). A stream that has loaded it goes on with the next block: it tokenizes
    again only the batch, or the shuffled window, that it stood in. What the source does to get there is its own affair:
    `datasets` opens the shard where it stood, and reads over what is before that place in it.

    Args:
        source: the texts; it should not be shuffled, since such a stream can not be resumed exactly.
        encoder: texts to ids.
        layout: documents to blocks.
        column: the column of `source` with the texts.
    """

    def __init__(self, source: IterableDataset, encoder: TextEncoder, layout: Layout, column: str = "text") -> None:
        self.source, self.encoder, self.layout, self.column = source, encoder, layout, column
        self._window, self._seed = 0, 0
        self._passes: int | None = 1
        self._part, self._parts = 0, 1
        self._epoch = _shared(0)
        self._start: dict[str, Any] | None = None
        self._at: _Position | None = None
        self._told = False

    # --- what is streamed ---

    def shuffle(self, seed: int = 0, buffer_size: int = 10_000) -> BlockStream:
        """The stream with its shards in random order, and blocks shuffled within windows of `buffer_size` or a few
        more. The order is a function of `seed` and the epoch."""
        if buffer_size < 1:
            raise ValueError(f"`buffer_size` is {buffer_size}; give a number of blocks, 1 or more.")
        return self._with(_window=buffer_size, _seed=seed)

    def repeat(self, num_times: int | None = None) -> BlockStream:
        """The stream over `num_times` epochs, or without end; each is shuffled anew where `shuffle` asks for it."""
        if num_times is not None and num_times < 1:
            raise ValueError(f"`num_times` is {num_times}; give a number of epochs, 1 or more, or None for no end.")
        return self._with(_passes=num_times)

    def split(self, rank: int, world_size: int) -> BlockStream:
        """Part `rank` of `world_size`. For loops of one's own: a Trainer shares a stream out by itself."""
        if not 0 <= rank < world_size:
            raise ValueError(f"`rank` is {rank} of `world_size` {world_size}; give a rank from 0 to below the size.")
        return self._with(_part=self._part * world_size + rank, _parts=self._parts * world_size)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next pass is, or the first of the next passes."""
        self._epoch.fill_(epoch)

    def from_the_first(self) -> BlockStream:
        """One pass over all blocks in their own order, as if nothing had been asked for or read."""
        return self._with(_window=0, _seed=0, _passes=1, _part=0, _parts=1, _told=True)

    def _with(self, **changes: Any) -> BlockStream:
        changed = copy.copy(self)
        vars(changed).update(changes, _start=None, _at=None, _epoch=_shared(int(self._epoch)))
        return changed

    # --- where it stands ---

    def state_dict(self) -> dict[str, Any]:
        """The place of the last block given out, as plain numbers, lists and strings; see the class."""
        if self._start is not None:
            return copy.deepcopy(self._start)
        at = self._at or _Position(int(self._epoch), 0, 0, _beginning(), 0, 0, None)
        place = {"shard": at.place.shard, "source": at.place.source, "carry": at.place.carry.tolist()}
        reader = None if at.reader is None else list(at.reader)
        return copy.deepcopy({"stream": self._made, **at._asdict(), "place": place, "reader": reader})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The next pass goes on from there.

        Raises `ValueError` for the state of a stream that was made otherwise: of other blocks, another order, or
        another part of them.
        """
        if not isinstance(state_dict, Mapping) or not {"stream", *_Position._fields} <= state_dict.keys():
            raise ValueError(
                "This is no state of a BlockStream: give what `state_dict()` returned, with all of its entries."
            )
        theirs = state_dict["stream"]
        other = [
            f"{name} {theirs.get(name)!r}, not {ours!r}"
            for name, ours in self._made.items()
            if theirs.get(name) != ours
        ]
        if other:
            raise ValueError(
                f"The state is of a stream that was made otherwise ({'; '.join(other)}): make this one as that was."
            )
        self._start, self._at = copy.deepcopy(dict(state_dict)), None

    @property
    def _made(self) -> dict[str, Any]:
        """What decides which blocks are given out in which order, as plain values."""
        source = self.source
        return {
            "seed": self._seed if self._window else None,
            "buffer_size": self._window,
            "part": f"{self._part} of {self._parts}",
            "layout": type(self.layout).__name__,
            **{name: value for name, value in vars(self.layout).items() if not name.startswith("_")},
            "tokenizer": self.encoder.fingerprint.text,
            "column": self.column,
            "split": None if source.split is None else str(source.split),
            "shards": source.num_shards,
        }

    # --- streaming ---

    def __iter__(self) -> Iterator[dict[str, Any]]:
        start, self._start, self._at = self._start, None, None
        passed = start["passed"] if start else 0
        first = start["epoch"] - passed if start else int(self._epoch)
        for number in itertools.count(passed) if self._passes is None else range(passed, self._passes):
            anything = False
            for row in self._pass(first + number, number, start):
                anything = True
                yield row
            if self._passes is None and not anything and start is None:
                raise ValueError(
                    "The corpus has no block for this process, and so it can not be repeated: give a longer text, or "
                    "share it among fewer processes and data loader workers."
                )
            start = None

    def _pass(self, epoch: int, passed: int, start: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        """One epoch's blocks, from `start` on."""
        worker = torch.utils.data.get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker else (1, 0)
        part, parts = reader = self._part * workers + number, self._parts * workers
        if start and start["reader"] not in (None, list(reader)):
            raise ValueError(
                "The state is of reader {} of {}, but this is reader {} of {}: use as many processes and data loader "
                "workers as when it was saved.".format(*start["reader"], *reader)
            )
        count = self.source.num_shards
        shards = np.random.default_rng([self._seed, epoch]).permutation(count) if self._window else np.arange(count)
        if count >= parts:
            shards, part, parts = shards[part::parts], 0, 1
        window, seen, done, place = 0, 0, 0, _beginning()
        if start:
            window, seen, done = start["window"], start["seen"], start["given"]
            place = _Place(**{**start["place"], "carry": np.array(start["place"]["carry"], self.encoder.dtype)})
        for begins, blocks in self._windows(shards.tolist(), epoch, place):
            order = np.arange(len(blocks.ids))
            if self._window:
                order = np.random.default_rng([self._seed, epoch, window]).permutation(order)
            for given in range(done, len(order)):
                if (seen + given) % parts == part:
                    self._at = _Position(epoch, passed, window, begins, seen, given + 1, reader)
                    yield self._row(blocks, int(order[given]))
            window, seen, done = window + 1, seen + len(order), 0

    def _row(self, blocks: Blocks, row: int) -> dict[str, Any]:
        example = {"input_ids": blocks.ids[row]}
        if self.layout.pads:
            example["attention_mask"] = np.arange(self.layout.length) < blocks.lengths[row]
        return example

    def _windows(self, shards: list[int], epoch: int, place: _Place) -> Iterator[tuple[_Place, Blocks]]:
        """Batches joined until they reach the window, each with the place where it begins."""
        begins, held, size = place, list[Blocks](), 0
        for after, blocks in self._batches(shards, epoch, place):
            held.append(blocks)
            size += len(blocks.ids)
            if size and size >= self._window:
                yield begins, _joined(held)
                begins, held, size = after, [], 0
        if size:
            yield begins, _joined(held)

    def _batches(self, shards: list[int], epoch: int, place: _Place) -> Iterator[tuple[_Place, Blocks]]:
        """Blocks of each batch of documents, with the place behind it."""
        number, source, carry = place
        nothing, left_out = np.empty(0, self.encoder.dtype), 0
        for shard in shards[number:]:
            stream = self.source.shard(self.source.num_shards, shard).with_format(None)
            stream.set_epoch(epoch)
            if source is not None:
                stream.load_state_dict(source)
            # by `iter`, for a plain loop would share this shard out among the data loader's workers once more; and few
            # at once, for how many make a batch is a matter of their size
            rows = (rows[self.column] for rows in stream.iter(batch_size=min(_READ, _DOCUMENTS)))
            for documents in batched_texts(rows, _DOCUMENTS):
                blocks, carry = self.layout.cut(self.encoder(documents), carry, last=False)
                left_out += blocks.left_out
                yield _Place(number, stream.state_dict(), carry), blocks
            blocks, carry = self.layout.cut(self.encoder([]), carry, last=True)
            left_out += blocks.left_out
            number, source, carry = number + 1, None, nothing
            yield _Place(number, source, carry), blocks
        if left_out and not self._told:  # in the passes after it they are the same
            self._told = True
            logger.warning(left_out_message(left_out, self.layout))


def _shared(epoch: int) -> torch.Tensor:
    """A number that data loader workers see change."""
    return torch.tensor(epoch).share_memory_()


def _beginning() -> _Place:
    return _Place(0, None, np.empty(0, np.int64))


def _joined(parts: list[Blocks]) -> Blocks:
    return Blocks(np.concatenate([part.ids for part in parts]), np.concatenate([part.lengths for part in parts]))
