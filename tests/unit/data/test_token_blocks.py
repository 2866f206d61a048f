"""Texts of a data set become blocks on disk: the same in any number of processes, made once, with nothing lost."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, IterableDatasetDict, load_from_disk
from helpers.corpora import SENTENCES, byte_pairs, characters
from helpers.encoders import word_pieces
from hypothesis import given, settings
from hypothesis import strategies as st

from ladd_hf.data import BlockStream, LaddCollator, batching, block_stream, encoding, token_blocks

TOKENIZER = characters("eos", "pad", "mask")
PLAIN = characters("mask")
TEXTS = Dataset.from_dict({"text": SENTENCES * 4})
EOS = TOKENIZER.eos_token_id


def rows(blocks):
    """The text of each block, padding removed."""
    masks = blocks["attention_mask"] if "attention_mask" in blocks.column_names else None
    ids = np.array(blocks["input_ids"])
    return [row[mask].tolist() for row, mask in zip(ids, np.array(masks, bool), strict=True)] if masks else ids.tolist()


def real(row):
    """A row without its padding."""
    return row["input_ids"][row["attention_mask"]].tolist()


def stream_of(texts, tokenizer=TOKENIZER, end=(EOS,)):
    return [token for text in texts for token in [*tokenizer(text)["input_ids"], *end]]


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(st.text("ab ", max_size=9), min_size=1, max_size=9),
    length=st.integers(1, 8),
    batch=st.integers(1, 4),
)
def test_blocks_joined_are_the_tokenized_documents_joined(texts, length, batch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "MAX_TEXTS", batch)
        blocks = token_blocks(Dataset.from_dict({"text": texts}), TOKENIZER, length)
    assert [token for row in rows(blocks) for token in row] == stream_of(texts)
    assert all(len(row) == length for row in rows(blocks)[:-1])


def test_any_number_of_processes_makes_the_same_blocks(monkeypatch):
    monkeypatch.setattr(batching, "MAX_TEXTS", 5)
    for options in ({}, {"mode": "pad"}, {"remainder": "drop"}):
        one, two = (token_blocks(TEXTS, TOKENIZER, 16, num_proc=number, **options) for number in (1, 2))
        assert rows(one) == rows(two) and one.features == two.features


def test_blocks_are_made_once(tmp_path, monkeypatch):
    TEXTS.save_to_disk(tmp_path)
    first = token_blocks(load_from_disk(tmp_path), TOKENIZER, 16)
    assert first.cache_files, "memory-mapped from disk"

    def fail(*args):
        raise AssertionError("tokenized again")

    monkeypatch.setattr(encoding.TextEncoder, "__call__", fail)
    again = token_blocks(load_from_disk(tmp_path), characters("eos", "pad", "mask"), 16)
    assert rows(again) == rows(first)
    for changed in ({"length": 17}, {"remainder": "drop"}, {"mode": "pad"}):
        with pytest.raises(AssertionError, match="tokenized again"):
            token_blocks(load_from_disk(tmp_path), TOKENIZER, **{"length": 16, **changed})


def test_columns_take_little_room():
    blocks = token_blocks(TEXTS, TOKENIZER, 16)
    assert {name: feature.feature.dtype for name, feature in blocks.features.items()} == {
        "input_ids": "uint16",
        "attention_mask": "bool",
    }
    assert token_blocks(TEXTS, TOKENIZER, 16, remainder="drop").column_names == ["input_ids"], "no padding, no mask"


def test_modes_differ_in_what_stands_around_texts():
    bpe = byte_pairs()
    bos, eos = bpe.bos_token_id, bpe.eos_token_id
    packed, wrapped, padded = (rows(token_blocks(TEXTS, bpe, 40, mode)) for mode in ("pack", "wrap", "pad"))
    assert [token for row in packed for token in row] == stream_of(TEXTS["text"], bpe, (eos,))
    assert all(row[0] == bos and row[-1] == eos for row in wrapped)
    assert [token for row in wrapped for token in row[1:-1]] == [token for row in packed for token in row]
    assert [token for row in padded for token in row] == [
        token for text in TEXTS["text"] for token in [bos, *bpe(text)["input_ids"], eos]
    ]
    cut = rows(token_blocks(TEXTS, bpe, 10, "pad", truncate=True))
    assert cut == [[bos, *bpe(text)["input_ids"][:8], eos] for text in TEXTS["text"]]


def test_pieces_of_one_text_are_joined_without_a_separator():
    pieces = ["abcde", "fg", "hijklmnop"]
    data = Dataset.from_dict({"text": pieces})
    for blocks in (
        token_blocks(data, TOKENIZER, 4, special_tokens=False),
        token_blocks(data, PLAIN, 4, remainder="drop"),  # it has no EOS token
    ):
        assert [TOKENIZER.decode(row) for row in rows(blocks)] == ["abcd", "efgh", "ijkl", "mnop"]


def test_a_text_can_separate_documents():
    blocks = token_blocks(Dataset.from_dict({"text": ["ab", "cde"]}), TOKENIZER, 7, separator=" ")
    assert TOKENIZER.decode(rows(blocks)[0]) == "ab cde "


def test_a_separator_that_encodes_to_nothing_is_refused_and_an_empty_one_is_taken():
    words = word_pieces(SENTENCES)
    with pytest.raises(ValueError, match="`separator` is ' ', which is no token of this tokenizer"):
        token_blocks(TEXTS, words, 8, separator=" ")
    joined = token_blocks(TEXTS, words, 8, separator="", remainder="drop")
    tokens = [token for text in TEXTS["text"] for token in words(text, add_special_tokens=False)["input_ids"]]
    assert [token for row in rows(joined) for token in row] == tokens[: len(tokens) // 8 * 8]


@pytest.mark.parametrize("streaming", [False, True])
def test_texts_with_too_few_tokens_are_left_out_and_their_number_is_told(caplog, streaming):
    data = TEXTS.to_iterable_dataset() if streaming else TEXTS
    every = [real(row) for row in token_blocks(data, TOKENIZER, 16, "pad")]
    assert not caplog.messages
    blocks = token_blocks(data, TOKENIZER, 16, "pad", min_tokens=10)
    kept = [real(row) for row in blocks]
    assert kept == [row for row in every if len(row) >= 10] and 0 < len(kept) < len(every)
    (told,) = caplog.messages
    assert told.startswith(f"{len(every) - len(kept)} texts, or rests of longer ones, have fewer than 10 tokens")
    assert len(list(blocks)) == len(kept) and len(caplog.messages) == 1, "told once"


@pytest.mark.parametrize("num_proc", [None, 2])
def test_the_number_of_texts_left_out_is_told_of_blocks_from_the_cache_too(tmp_path, caplog, monkeypatch, num_proc):
    TEXTS.save_to_disk(tmp_path)
    first, again = (
        token_blocks(load_from_disk(tmp_path), TOKENIZER, 16, "pad", min_tokens=fewest, num_proc=num_proc)
        for fewest in (10, 12)
    )
    told = caplog.messages[:]
    assert len(told) == 2 and told[0] != told[1]
    caplog.clear()
    monkeypatch.setattr(encoding.TextEncoder, "__call__", None)
    for fewest, blocks in ((10, first), (12, again), (1, None)):
        if blocks is None:
            monkeypatch.undo()
        found = token_blocks(load_from_disk(tmp_path), TOKENIZER, 16, "pad", min_tokens=fewest, num_proc=num_proc)
        assert blocks is None or rows(found) == rows(blocks)
    assert caplog.messages == told, "and nothing where none was"


def test_every_split_and_either_kind_of_data_set_is_taken():
    splits = DatasetDict(train=TEXTS, test=TEXTS.select(range(5)))
    blocks = token_blocks(splits, TOKENIZER, 16)
    assert type(blocks) is DatasetDict and rows(blocks["test"]) == rows(token_blocks(splits["test"], TOKENIZER, 16))
    streams = token_blocks(
        IterableDatasetDict({name: split.to_iterable_dataset() for name, split in splits.items()}), TOKENIZER, 16
    )
    assert streams.keys() == {"train", "test"} and isinstance(streams["train"], BlockStream)


def test_a_batch_is_what_a_model_takes():
    batch = LaddCollator()(token_blocks(TEXTS, TOKENIZER, 16).__getitems__([0, 1, 2]))
    assert {name: str(tensor.dtype) for name, tensor in batch.items()} == {
        "input_ids": "torch.int64",
        "attention_mask": "torch.int64",
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "`length` is 0, but an integer of 1 or more"),
        ({"length": 2.5}, r"`length` is 2\.5, but an integer"),
        ({"length": True}, "`length` is True, but an integer"),
        ({"num_proc": 0}, "`num_proc` is 0, but a number of processes, 1 or more"),
        ({"num_proc": True}, "`num_proc` is True, but a number of processes"),
        ({"mode": "crop"}, "`mode` is 'crop', but one of 'pack', 'wrap', 'pad'"),
        ({"remainder": "keep"}, "`remainder` is 'keep', but one of 'pad', 'drop'"),
        ({"truncate": True}, "`truncate` cuts off documents of mode 'pad', and the mode is 'pack'"),
        ({"mode": "pad", "separator": " "}, "`separator` stands between documents, which mode 'pad' does not join"),
        ({"column": "body"}, "no column 'body', but 'text'"),
        ({"mode": "wrap"}, "no BOS token, which this mode writes.*mode 'pack'"),
        ({"mode": "pad", "special_tokens": True}, "no BOS token"),
        ({"length": 10_000, "remainder": "drop"}, "24 texts do not fill a single block of 10000 tokens"),
        ({"min_tokens": 0}, r"`min_tokens` is 0, but an integer from 1 to the `length` \(16\)"),
        ({"min_tokens": 17}, r"`min_tokens` is 17, but an integer from 1 to the `length` \(16\)"),
        (
            {"length": 200, "mode": "pad", "min_tokens": 100, "load_from_cache_file": False},
            r"24 texts all have fewer than 100 tokens \(`min_tokens`\)",
        ),
    ],
)
def test_what_can_not_be_done_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        token_blocks(TEXTS, TOKENIZER, **{"length": 16, **options})


def test_a_tokenizer_without_padding_can_only_drop():
    with pytest.raises(ValueError, match=r"no PAD token.*`remainder='drop'`"):
        token_blocks(TEXTS, PLAIN, 16)
    assert len(token_blocks(TEXTS, PLAIN, 16, remainder="drop"))


def test_texts_that_are_empty_give_no_blocks():
    for texts in ([], [""]):
        with pytest.raises(ValueError, match="do not fill a single block"):
            token_blocks(Dataset.from_dict({"text": texts}), PLAIN, 4, remainder="drop")


def test_what_is_no_data_set_is_refused():
    with pytest.raises(TypeError, match=r"`dataset` is a list, but a Dataset or an IterableDataset"):
        token_blocks(SENTENCES, TOKENIZER, 4)


# --- data sets whose rows are made as they are read ---


def raised(batch):
    return {**batch, "text": [text.replace("a", "b") for text in batch["text"]]}


def raised_otherwise(batch):
    return {**batch, "text": [text.replace("a", "c") for text in batch["text"]]}


def of_other_columns(batch):
    return {"text": [f"{left} {right}" for left, right in zip(batch["title"], batch["body"], strict=True)]}


@pytest.mark.parametrize("place", ["on disk", "in memory"])
@pytest.mark.parametrize("num_proc", [None, 2])
def test_the_texts_are_those_that_a_transform_gives(tmp_path, place, num_proc):
    TEXTS.save_to_disk(tmp_path)
    data = load_from_disk(tmp_path, keep_in_memory=place == "in memory")
    token_blocks(data, TOKENIZER, 16, num_proc=num_proc)  # what is not to be found again
    for transform in (raised, raised_otherwise):
        blocks = token_blocks(data.with_transform(transform), TOKENIZER, 16, num_proc=num_proc)
        assert [token for row in rows(blocks) for token in row] == stream_of(transform(TEXTS[:])["text"])
    in_place = load_from_disk(tmp_path)
    in_place.set_transform(raised)
    assert rows(token_blocks(in_place, TOKENIZER, 16)) == rows(
        token_blocks(TEXTS.map(raised, batched=True), TOKENIZER, 16)
    )


def test_a_transform_may_make_the_column():
    data = Dataset.from_dict({"title": ["a", "b"], "body": ["c", "d"]}).with_transform(of_other_columns)
    blocks = token_blocks(data, TOKENIZER, 4, special_tokens=False)
    assert TOKENIZER.decode([token for row in rows(blocks) for token in row]) == "a cb d"


def test_a_transform_is_asked_anew_each_time(tmp_path):
    TEXTS.save_to_disk(tmp_path)
    mark = ["x"]
    data = load_from_disk(tmp_path).with_transform(lambda batch: {"text": [mark[0] for _ in batch["text"]]})
    for mark[0] in "xyx":
        assert set(TOKENIZER.decode(rows(token_blocks(data, TOKENIZER, 8, special_tokens=False))[0])) == {mark[0]}


@pytest.mark.parametrize("kind", ["numpy", "arrow", "pandas", "torch"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_format_changes_no_text(kind, streaming):
    data = TEXTS.to_iterable_dataset() if streaming else TEXTS
    assert [real(row) for row in token_blocks(data.with_format(kind), TOKENIZER, 16)] == rows(
        token_blocks(TEXTS, TOKENIZER, 16)
    )


# --- sizes ---


@pytest.mark.parametrize("chosen", [slice(None), slice(None, None, -1), slice(3, 4)])
@pytest.mark.parametrize("kind", ["disk", "stream", "two processes"])
def test_batches_are_bounded_by_the_size_of_texts_and_blocks_are_the_same(monkeypatch, kind, chosen):
    texts = ["a" * 3000, *("b" * 10 for _ in range(50)), *("c" * 700 for _ in range(9)), "", "d" * 1999]
    order = list(range(len(texts)))[chosen]
    data = Dataset.from_dict({"text": texts}).select(order)
    options = {"num_proc": 2} if kind == "two processes" else {}
    expected = rows(token_blocks(data, TOKENIZER, 16))
    monkeypatch.setattr(batching, "MAX_SIZE", 2000)
    monkeypatch.setattr(block_stream, "_READ", 1)
    asked, original = [], encoding.TextEncoder.__call__

    def noted(self, batch):
        asked.append([len(str(text)) for text in batch])
        return original(self, batch)

    monkeypatch.setattr(encoding.TextEncoder, "__call__", noted)
    blocks = token_blocks(data.to_iterable_dataset() if kind == "stream" else data, TOKENIZER, 16, **options)
    assert [real(row) for row in blocks] == expected
    if kind != "two processes":  # which note what they are asked elsewhere
        assert sum(map(len, asked)) == len(order)
        assert all(sum(sizes[:-1]) < 2000 for sizes in asked), "no more than one text beyond"
        assert len(asked) > 4 or len(order) == 1


def test_texts_that_a_tokenizer_reads_at_once_are_bounded_too(monkeypatch):
    bpe = byte_pairs()
    texts = [text for text in SENTENCES * 20 if text]
    expected = encoding.TextEncoder(bpe)(texts)
    monkeypatch.setattr(batching, "MAX_SIZE", 100)
    encoder, sizes = encoding.TextEncoder(bpe), []
    original = encoding._plain_ids
    monkeypatch.setattr(encoding, "_plain_ids", lambda *args: sizes.append(sum(map(len, args[1]))) or original(*args))
    documents = encoder(texts)
    assert documents.ids.tolist() == expected.ids.tolist() and documents.lengths.tolist() == expected.lengths.tolist()
    assert max(sizes) <= 100 and len(sizes) > 10


@pytest.mark.parametrize("given", [pa.array(["ab", None, "äö"]), pa.array(["ab", "äö", "ab"]).dictionary_encode()])
def test_sizes_are_those_in_bytes(given):
    sizes = [len((text or "").encode()) for text in given.to_pylist()]
    for column in (given, pa.chunked_array([given[:1], given[1:]]), given.cast(pa.large_string())):
        assert batching.text_sizes(column).tolist() == sizes


def test_half_a_character_is_no_text():
    with pytest.raises(ValueError, match=r"holds half a character \(the lone surrogate '\\ud800'\)"):
        encoding.TextEncoder(TOKENIZER)(["a", "b \ud800"])
