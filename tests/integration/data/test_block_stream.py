"""A streamed corpus gives the same blocks to whoever reads it, and goes on in the middle as if nothing had happened."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset, IterableDataset, NamedSplit, load_dataset
from datasets.distributed import split_dataset_by_node
from helpers.corpora import SENTENCES, SYMBOLS, byte_pairs, characters
from helpers.training import assert_same, state_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ladd_hf.data import LaddCollator, block_stream, token_blocks
from ladd_hf.data.encoding import TextEncoder

TOKENIZER = characters("eos", "pad", "mask", symbols=SYMBOLS)
TEXTS = [f"{sentence} {number * 'z'}" for number in range(9) for sentence in SENTENCES]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Few documents at a time, so that short corpora have many batches."""
    monkeypatch.setattr(block_stream, "_DOCUMENTS", 5)


def texts(shards=3, rows=TEXTS):
    return Dataset.from_dict({"text": rows}).to_iterable_dataset(num_shards=shards)


def stream(shards=3, length=16, **options):
    return token_blocks(texts(shards), TOKENIZER, length, **options)


def read(blocks, count=None):
    return [tuple(row["input_ids"].tolist()) for row in itertools.islice(blocks, count)]


def real(row):
    """A row without its padding."""
    return row["input_ids"][row["attention_mask"]].tolist() if "attention_mask" in row else row["input_ids"].tolist()


def count(rows):
    return sorted(rows)


# --- nothing is lost ---


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.text("ab ", max_size=9), min_size=3, max_size=12),
    length=st.integers(1, 8),
    batch=st.integers(1, 4),
    shards=st.integers(1, 3),
)
def test_blocks_joined_are_the_tokenized_documents_joined(rows, length, batch, shards):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block_stream, "_DOCUMENTS", batch)
        blocks = [real(row) for row in token_blocks(texts(shards, rows), TOKENIZER, length)]
    tokens = [token for row in rows for token in [*TOKENIZER(row)["input_ids"], TOKENIZER.eos_token_id]]
    assert [token for row in blocks for token in row] == tokens
    assert sum(len(row) < length for row in blocks) <= shards, "one incomplete block for each shard, at most"


@pytest.mark.parametrize("mode", ["pack", "wrap", "pad"])
def test_one_shard_gives_the_blocks_of_the_data_set_on_disk(mode):
    bpe = byte_pairs()
    on_disk = token_blocks(Dataset.from_dict({"text": TEXTS}), bpe, 16, mode)
    streamed = token_blocks(texts(1), bpe, 16, mode)
    for left, right in zip(on_disk, streamed, strict=True):
        assert left["input_ids"].tolist() == right["input_ids"].tolist()
        assert left["attention_mask"].tolist() == right["attention_mask"].tolist()


# --- order ---


def test_order_is_a_function_of_seed_and_epoch():
    def order(seed, epoch):
        blocks = stream().shuffle(seed, buffer_size=20)
        blocks.set_epoch(epoch)
        return read(blocks)

    assert order(0, 0) == order(0, 0)
    orders = [order(0, 0), order(1, 0), order(0, 1), read(stream())]
    assert all(left != right for left, right in itertools.combinations(orders, 2))
    assert len({tuple(count(rows)) for rows in orders}) == 1, "the same blocks, in another order"


def test_shuffling_moves_blocks_far():
    plain = read(stream(1))
    shuffled = read(stream(1).shuffle(0, buffer_size=len(plain)))
    places = {row: place for place, row in enumerate(plain)}
    moved = [abs(places[row] - place) for place, row in enumerate(shuffled)]
    assert np.mean(moved) > len(plain) / 5  # a third, for a random order


def test_repeating_goes_through_the_epochs():
    blocks = stream().shuffle(0, buffer_size=20)
    epochs = []
    for epoch in range(3):
        blocks.set_epoch(epoch)
        epochs.append(read(blocks))
    joined = [row for rows in epochs for row in rows]
    assert read(stream().shuffle(0, buffer_size=20).repeat(3)) == joined
    assert read(stream().shuffle(0, buffer_size=20).repeat(), len(joined)) == joined


# --- sharing out ---


@pytest.mark.parametrize(("shards", "world_size"), [(4, 2), (5, 2), (1, 3), (2, 3)])
def test_every_block_is_one_ranks(shards, world_size):
    for blocks in (stream(shards), stream(shards).shuffle(0, buffer_size=8)):
        parts = [read(blocks.split(rank, world_size)) for rank in range(world_size)]
        assert count(itertools.chain(*parts)) == count(read(blocks))
        assert all(parts)
        if shards < world_size:
            assert max(map(len, parts)) - min(map(len, parts)) <= 1, "each reads all, and keeps every n-th"


@pytest.mark.parametrize("shards", [4, 1])
@pytest.mark.parametrize("workers", [1, 2])
def test_every_block_is_one_workers_of_one_rank(shards, workers):
    blocks = stream(shards)
    loaders = [DataLoader(blocks.split(rank, 2), batch_size=None, num_workers=workers) for rank in range(2)]
    assert count(itertools.chain(*map(read, loaders))) == count(read(blocks))


@pytest.mark.parametrize("shards", [4, 1])
def test_texts_may_be_split_by_node_before(shards):
    parts = [token_blocks(split_dataset_by_node(texts(shards), rank, 2), TOKENIZER, 16) for rank in range(2)]
    tokens = [token for part in parts for row in part for token in real(row)]
    assert count(tokens) == count(token for row in stream(shards) for token in real(row))


def test_workers_that_stay_see_the_next_epoch():
    blocks = stream(4).shuffle(0, buffer_size=20)
    loader = DataLoader(blocks, batch_size=None, num_workers=1, persistent_workers=True)
    for epoch in (0, 1):
        blocks.set_epoch(epoch)
        twin = stream(4).shuffle(0, buffer_size=20)
        twin.set_epoch(epoch)
        assert read(loader) == read(twin)


# --- resuming ---


def from_generator():
    return IterableDataset.from_generator(
        lambda shards: ({"text": text} for i in shards for text in TEXTS[4 * i : 4 * i + 4]),
        gen_kwargs={"shards": [*range(12)]},
    )


def from_map():
    return texts().map(lambda row: {"text": row["text"][::-1]})


def from_files(folder):
    for number in range(3):
        lines = "".join(f"{text}\n" for text in TEXTS[number::3])
        (folder / f"{number}.txt").write_text(lines)
    return load_dataset("text", data_files=str(folder / "*.txt"), streaming=True, split="train", cache_dir=str(folder))


@pytest.mark.parametrize("source", ["arrow", "generator", "map", "files"])
@pytest.mark.parametrize("window", [0, 7])
def test_a_resumed_stream_gives_the_blocks_of_an_uninterrupted_one(source, window, tmp_path):
    documents = {"arrow": texts, "generator": from_generator, "map": from_map, "files": lambda: from_files(tmp_path)}[
        source
    ]()

    def fresh():
        blocks = token_blocks(documents, TOKENIZER, 32, "pack")
        return (blocks.shuffle(3, buffer_size=window) if window else blocks).repeat(2)

    whole = read(fresh())
    assert len(whole) > 60
    for done in (0, 1, 2, 10, 11, 25, len(whole) // 2, len(whole) // 2 + 1, len(whole) - 1, len(whole)):
        interrupted = fresh()
        assert read(interrupted, done) == whole[:done]
        state = json.loads(json.dumps(interrupted.state_dict()))
        resumed = fresh()
        resumed.load_state_dict(state)
        assert resumed.state_dict() == state
        assert read(resumed) == whole[done:], done


def test_a_resumed_stream_can_be_interrupted_again():
    whole, done = read(stream()), []
    state = stream().state_dict()
    while True:
        blocks = stream()
        blocks.load_state_dict(state)
        some = read(blocks, 7)
        done += some
        state = blocks.state_dict()
        if not some:
            break
    assert done == whole


def test_ranks_that_share_a_shard_resume_each():
    def part(rank):
        return stream(1).shuffle(0, buffer_size=6).split(rank, 2)

    for rank in range(2):
        whole, interrupted, resumed = read(part(rank)), part(rank), part(rank)
        read(interrupted, 9)
        resumed.load_state_dict(interrupted.state_dict())
        assert read(resumed) == whole[9:]


def test_after_resuming_the_next_pass_is_whole():
    blocks = stream()
    blocks.load_state_dict({**stream().state_dict()})
    assert read(blocks) == read(blocks)


def test_resuming_tokenizes_only_the_batch_it_stands_in(monkeypatch):
    blocks = stream(1)
    whole = read(blocks)
    read(blocks, len(whole) - 2)
    resumed, calls = stream(1), []
    original = TextEncoder.__call__
    monkeypatch.setattr(TextEncoder, "__call__", lambda self, rows: calls.append(len(rows)) or original(self, rows))
    resumed.load_state_dict(blocks.state_dict())
    assert read(resumed) == whole[-2:] and sum(calls) <= 10


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: stream().shuffle(1, 20), "seed 0, not 1"),
        (lambda: stream().shuffle(0, 21), "buffer_size 20, not 21"),
        (lambda: stream(), "seed 0, not None; buffer_size 20, not 0"),
        (lambda: stream(length=17).shuffle(0, 20), "length 16, not 17"),
        (lambda: stream(remainder="drop").shuffle(0, 20), "pad_token_id .*, not None"),
        (lambda: stream(special_tokens=False).shuffle(0, 20), "separator .*, not "),
        (lambda: stream(mode="pad").shuffle(0, 20), "layout 'Packed', not 'Padded'"),
        (lambda: stream(4).shuffle(0, 20), "shards 3, not 4"),
        (lambda: stream().shuffle(0, 20).split(0, 2), "part '0 of 1', not '0 of 2'"),
        (
            lambda: token_blocks(texts(), characters("eos", "pad", "mask", "unk"), 16).shuffle(0, 20),
            "tokenizer '.*', not",
        ),
    ],
)
def test_the_state_of_another_stream_is_refused(other, message):
    blocks = stream().shuffle(0, 20)
    read(blocks, 5)
    with pytest.raises(
        ValueError, match=rf"of a stream that was made otherwise \(.*{message}.*\): make this one as that"
    ):
        other().load_state_dict(blocks.state_dict())


def test_the_state_of_another_split_is_refused():
    def of(split):
        source = IterableDataset.from_generator(lambda: ({"text": text} for text in TEXTS), split=NamedSplit(split))
        return token_blocks(source, TOKENIZER, 16)

    with pytest.raises(ValueError, match="split 'train', not 'validation'"):
        of("validation").load_state_dict(of("train").state_dict())


@pytest.mark.parametrize("state", [{}, None, {"epoch": 0}])
def test_what_is_no_state_is_refused(state):
    with pytest.raises(ValueError, match="no state of a BlockStream"):
        stream().load_state_dict(state)


def test_more_epochs_may_follow():
    shorter, longer = stream().repeat(2), stream().repeat(3)
    whole = read(stream().repeat(3))
    done = len(read(shorter)) - 3
    interrupted = stream().repeat(2)
    read(interrupted, done)
    longer.load_state_dict(interrupted.state_dict())
    assert read(longer) == whole[done:]


def test_a_state_is_of_one_number_of_workers():
    blocks = stream(4)
    read(blocks, 5)
    state = blocks.state_dict()
    blocks.load_state_dict(state)
    with pytest.raises(ValueError, match=r"The state is of reader 0 of 1, but this is reader . of 2: use as many"):
        read(DataLoader(blocks, batch_size=None, num_workers=2))


# --- training ---


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_run_resumes_in_the_middle_of_an_epoch(workers, make_trainer, tiny_model):
    def trainer(folder, **options):
        size = len(TOKENIZER)
        ids = {"vocab_size": size, "mask_token_id": size - 1, "pad_token_id": TOKENIZER.pad_token_id}
        data = stream(length=12).shuffle(3, buffer_size=30).repeat()
        model = tiny_model("discrete", **ids)
        return make_trainer(model, folder, data=data, dataloader_num_workers=workers, max_steps=30, **options)

    per_epoch = len(read(stream(length=12))) // 8
    assert 16 < per_epoch < 28, "the run is resumed in its first epoch and ends in its second"
    whole, halves = trainer("whole"), trainer("halves", save_strategy="steps", save_steps=16)
    whole.train()
    halves.train()
    resumed = trainer("halves")
    resumed.train(resume_from_checkpoint=f"{halves.args.output_dir}/checkpoint-16")
    assert_same(state_of(whole), state_of(resumed))
    assert resumed.state.global_step == 30


def test_a_trainers_processes_together_have_the_batches_of_one():
    def batches(size, rank, processes):
        data = stream().shuffle(0, buffer_size=20).repeat()
        loader = prepare_data_loader(
            DataLoader(data, batch_size=size, collate_fn=LaddCollator()),
            num_processes=processes,
            process_index=rank,
            dispatch_batches=False,  # else the first process reads them for all
            put_on_device=False,
        )
        return [batch["input_ids"].tolist() for batch in itertools.islice(loader, 5)]

    together = [left + right for left, right in zip(batches(4, 0, 2), batches(4, 1, 2), strict=True)]
    assert together == batches(8, 0, 1)


def test_batches_are_int64_with_a_mask():
    batch = next(iter(DataLoader(stream(), batch_size=4, collate_fn=LaddCollator())))
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (4, 16)
    assert batch["input_ids"].dtype == torch.int64
    assert "attention_mask" not in next(iter(stream(remainder="drop")))


# --- what is refused ---


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: stream().shuffle(buffer_size=0), "`buffer_size` is 0"),
        (lambda: stream().repeat(0), "`num_times` is 0"),
        (lambda: stream().split(2, 2), "`rank` is 2 of `world_size` 2"),
        (
            lambda: next(
                iter(token_blocks(texts(rows=["", ""], shards=1), characters("mask"), 4, remainder="drop").repeat())
            ),
            "no block for this process",
        ),
        (lambda: token_blocks(texts(), TOKENIZER, 4, column="body"), "no column 'body', but 'text'"),
        (
            lambda: list(token_blocks(texts(rows=["a", None], shards=1), TOKENIZER, 4)),
            r"Text 1 of this batch is missing",
        ),
    ],
)
def test_what_can_not_be_streamed_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()
