"""Blocks of a streamed corpus: shuffled, sharded over processes, resumable in the middle of an epoch."""

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

_DOCUMENTS = 128  # tokenized at once; fewer if they are long
_READ = 8  # documents read at once


class _Place(NamedTuple):
    """A position in the corpus: `shard` counts this pass's shards, `source` is the state of that shard's stream."""

    shard: int
    source: dict[str, Any] | None
    carry: TokenArray


class _Position(NamedTuple):
    """The last block that was returned: `passed` epochs precede this one, `seen` blocks of the epoch precede the window
    (number `window`, which begins at `place`), and the window's first `given` blocks are consumed. `reader` is
    (index, count) among the processes and data loader workers that share the blocks."""

    epoch: int
    passed: int
    window: int
    place: _Place
    seen: int
    given: int
    reader: tuple[int, int] | None


class BlockStream(torch.utils.data.IterableDataset):
    """Examples of one length from a streamed corpus: rows with `input_ids` `(L,)`, and `attention_mask` `(L,)` where a
    block may end in padding, as numpy arrays.

    Each shard of the corpus (usually a file) is cut independently, so the blocks do not depend on the number of
    processes. A remainder that does not fill a block is carried over to the next batch of documents. Texts that are
    too short for the layout are left out; a warning gives their number after the first pass.

    With data loader workers, or after `split`, shards are distributed if there is at least one for each reader;
    otherwise each reader reads all shards and keeps every n-th block. Either way each block is seen exactly once.

    `state_dict` is the position of the last block returned by this process (it counts what a data loader has
    prefetched; each worker has its own). After `load_state_dict` a stream resumes with the next block: only the
    current batch, or the current shuffled window, is tokenized again. The source resumes by its own means: `datasets`
    opens the current shard and skips the rows before the position.

    Args:
        source: the texts; it should not be shuffled, since a shuffled stream cannot be resumed exactly.
        encoder: maps texts to ids.
        layout: cuts documents into blocks.
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
        """Returns the stream with its shards in random order, and blocks shuffled within windows of at least
        `buffer_size`. The order is a function of `seed` and the epoch."""
        if buffer_size < 1:
            raise ValueError(f"`buffer_size` is {buffer_size}; give a number of blocks, 1 or more.")
        return self._with(_window=buffer_size, _seed=seed)

    def repeat(self, num_times: int | None = None) -> BlockStream:
        """Returns the stream over `num_times` epochs, or without end; a shuffled stream is reshuffled in each."""
        if num_times is not None and num_times < 1:
            raise ValueError(f"`num_times` is {num_times}; give a number of epochs, 1 or more, or None for no end.")
        return self._with(_passes=num_times)

    def split(self, rank: int, world_size: int) -> BlockStream:
        """Returns part `rank` of `world_size`, for custom training loops; a Trainer shards a stream by itself."""
        if not 0 <= rank < world_size:
            raise ValueError(f"`rank` is {rank} of `world_size` {world_size}; give a rank from 0 to below the size.")
        return self._with(_part=self._part * world_size + rank, _parts=self._parts * world_size)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch of the next pass, or of the first of the next passes."""
        self._epoch.fill_(epoch)

    def from_the_first(self) -> BlockStream:
        """Returns one pass over all blocks in their own order, unshuffled, unsharded and from the beginning."""
        return self._with(_window=0, _seed=0, _passes=1, _part=0, _parts=1, _told=True)

    def _with(self, **changes: Any) -> BlockStream:
        changed = copy.copy(self)
        vars(changed).update(changes, _start=None, _at=None, _epoch=_shared(int(self._epoch)))
        return changed

    # --- position ---

    def state_dict(self) -> dict[str, Any]:
        """Returns the position of the last block returned, as plain numbers, lists and strings; see the class."""
        if self._start is not None:
            return copy.deepcopy(self._start)
        at = self._at or _Position(int(self._epoch), 0, 0, _beginning(), 0, 0, None)
        place = {"shard": at.place.shard, "source": at.place.source, "carry": at.place.carry.tolist()}
        reader = None if at.reader is None else list(at.reader)
        return copy.deepcopy({"stream": self._made, **at._asdict(), "place": place, "reader": reader})

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Sets the position from which the next pass resumes.

        Raises `ValueError` for the state of a stream made with other arguments: other blocks, another order, or another
        part of them.
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
        """Returns the settings that determine the blocks and their order, as plain values."""
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
                    "The corpus has no block for this process, and so it cannot be repeated: give a longer text, or "
                    "share it among fewer processes and data loader workers."
                )
            start = None

    def _pass(self, epoch: int, passed: int, start: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        """Yields one epoch's blocks, from `start` on."""
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
        """Yields batches joined up to the window's size, each with the position at which it begins."""
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
        """Yields the blocks of each batch of documents, with the position after it."""
        number, source, carry = place
        nothing, left_out = np.empty(0, self.encoder.dtype), 0
        for shard in shards[number:]:
            stream = self.source.shard(self.source.num_shards, shard).with_format(None)
            stream.set_epoch(epoch)
            if source is not None:
                stream.load_state_dict(source)
            # with `iter`: as of datasets 5.2.0 a plain loop would share this shard out among the data loader's workers
            # once more; only a few rows at once, since a batch is bounded by size, not by number
            rows = (rows[self.column] for rows in stream.iter(batch_size=min(_READ, _DOCUMENTS)))
            for documents in batched_texts(rows, _DOCUMENTS):
                blocks, carry = self.layout.cut(self.encoder(documents), carry, last=False)
                left_out += blocks.left_out
                yield _Place(number, stream.state_dict(), carry), blocks
            blocks, carry = self.layout.cut(self.encoder([]), carry, last=True)
            left_out += blocks.left_out
            number, source, carry = number + 1, None, nothing
            yield _Place(number, source, carry), blocks
        if left_out and not self._told:  # the same in later passes
            self._told = True
            logger.warning(left_out_message(left_out, self.layout))


def _shared(epoch: int) -> torch.Tensor:
    """Returns a number in shared memory, so that data loader workers see it change."""
    return torch.tensor(epoch).share_memory_()


def _beginning() -> _Place:
    return _Place(0, None, np.empty(0, np.int64))


def _joined(parts: list[Blocks]) -> Blocks:
    return Blocks(np.concatenate([part.ids for part in parts]), np.concatenate([part.lengths for part in parts]))
