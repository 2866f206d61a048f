"""Blocks tell how their texts are framed and how long they are, and a model that is trained on them keeps it."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from datasets import Dataset, DatasetDict, load_from_disk
from helpers.corpora import SENTENCES, byte_pairs

from ladd_hf import LaddConfig, LaddPipeline, TextFrame
from ladd_hf.data import length_histogram, text_layout, token_blocks

LENGTH = 24
TEXTS = [text for text in SENTENCES if text] * 3
BPE = byte_pairs()
FRAMES = {
    "pack": ({"mode": "pack"}, TextFrame("pack")),
    "wrap": ({"mode": "wrap"}, TextFrame("wrap", (1,), (2,))),
    "pad": ({"mode": "pad"}, TextFrame("pad", (1,), (2,))),
    "bare": ({"mode": "pad", "special_tokens": False}, TextFrame("pad")),
    "filled": ({"mode": "pad", "fill": "eos"}, TextFrame("pad", (1,), (2,), 2, LENGTH)),
}


def blocks_of(options, texts=TEXTS, streamed=False, **others):
    data = Dataset.from_dict({"text": texts})
    return token_blocks(data.to_iterable_dataset(2) if streamed else data, BPE, LENGTH, **options, **others)


@pytest.mark.parametrize("streamed", [False, True], ids=["on disk", "streamed"])
@pytest.mark.parametrize("name", FRAMES)
def test_blocks_tell_the_frame_they_have(name, streamed):
    options, frame = FRAMES[name]
    blocks = blocks_of(options, ["the cat sat on", "a dog", "x", "furiously"] * 4, streamed)
    layout = text_layout(blocks)
    assert TextFrame.from_dict(layout["text_frame"]) == frame
    for row in blocks:
        ids = row["input_ids"][row["attention_mask"]] if "attention_mask" in row else row["input_ids"]
        if frame.start:
            assert ids[0] == frame.start[0] and ids[-1] == frame.end[-1]
    assert ("text_lengths" in layout) == (name in ("pad", "bare"))
    LaddConfig(vocab_size=len(BPE), mask_token_id=3, max_position_embeddings=LENGTH, **layout)


@pytest.mark.parametrize("streamed", [False, True], ids=["on disk", "streamed"])
def test_lengths_are_those_of_the_blocks_without_padding(streamed):
    blocks = blocks_of({"mode": "pad"}, streamed=streamed)
    lengths = [int(row["attention_mask"].sum()) for row in blocks]
    counted = {str(length): lengths.count(length) for length in sorted(set(lengths))}
    assert text_layout(blocks)["text_lengths"] == counted and len(counted) > 3
    some = blocks_of({"mode": "pad"}).select([4, 0, 3])
    assert length_histogram(some) == length_histogram(list(some))


def test_a_stream_is_counted_from_its_beginning_and_stays_where_it_is():
    stream = blocks_of({"mode": "pad"}, streamed=True)
    shuffled = stream.shuffle(1, 4).repeat()
    read = iter(shuffled)
    seen = [next(read)["input_ids"].tolist() for _ in range(3)]
    state = shuffled.state_dict()
    assert length_histogram(shuffled) == length_histogram(stream)
    assert shuffled.state_dict() == state and len(seen) == 3


def test_texts_of_ones_own_are_counted_by_their_ids():
    ragged = Dataset.from_dict({"input_ids": [[1, 2, 3], [4], [5, 6, 7]]})
    assert length_histogram(ragged) == length_histogram(ragged.with_format("torch")) == {"1": 1, "3": 2}


def test_the_frame_stays_with_what_is_made_of_the_blocks(tmp_path):
    blocks = blocks_of({"mode": "wrap"})
    blocks.save_to_disk(tmp_path)
    split = blocks.train_test_split(0.3, seed=0)["train"]
    for made in (blocks.shuffle(seed=0).select(range(3)), split, load_from_disk(tmp_path), blocks.with_format("torch")):
        assert text_layout(made) == text_layout(blocks)
    assert blocks_of({"mode": "pad"}).info.description != blocks.info.description


@pytest.mark.parametrize("data", [Dataset.from_dict({"input_ids": [[1]]}), DatasetDict(), [1, 2]], ids=type)
def test_a_data_set_that_does_not_tell_is_refused(data):
    with pytest.raises(ValueError, match="does not tell how its texts are framed"):
        text_layout(data)


# --- blocks that are filled up ---


def test_filled_blocks_are_texts_all_through():
    padded, filled = blocks_of({"mode": "pad"}), blocks_of({"mode": "pad", "fill": "eos"})
    assert filled.column_names == ["input_ids"] and len(padded) == len(filled)
    for before, after in zip(padded, filled, strict=True):
        assert np.array_equal(np.where(before["attention_mask"], before["input_ids"], 2), after["input_ids"])


def test_short_texts_are_left_out_however_they_are_filled_up():
    texts = ["x", "a dog", "what is written without effort"]
    padded, filled = (blocks_of({"mode": "pad", "fill": fill}, texts, min_tokens=6) for fill in ("padding", "eos"))
    assert 0 < len(padded) == len(filled) < 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "wrap", "fill": "eos"}, "`fill` fills up documents of mode 'pad'"),
        ({"mode": "pad", "fill": "bos"}, "`fill` is 'bos'"),
        ({"mode": "pad", "fill": "eos", "special_tokens": False}, "leave one of the two out"),
    ],
    ids=str,
)
def test_what_can_not_be_filled_up_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        blocks_of(options)


def test_padding_that_ends_texts_fills_them_up_and_is_scored(make_trainer, tiny_model):
    tokenizer = byte_pairs()
    tokenizer.pad_token = tokenizer.eos_token
    blocks = token_blocks(Dataset.from_dict({"text": TEXTS}), tokenizer, LENGTH, "pad", fill="eos")
    assert blocks.column_names == ["input_ids"] and any(row["input_ids"][-1] == 2 for row in blocks)
    sizes = {"vocab_size": len(tokenizer), "mask_token_id": 3, "max_position_embeddings": LENGTH}
    model = tiny_model("none", pad_token_id=2, eos_token_id=2, bos_token_id=1, **sizes)
    trainer = make_trainer(model, data=blocks, max_steps=1, trainer_options={"processing_class": tokenizer})
    trainer.train()
    assert math.isfinite(trainer.evaluate(blocks)["eval_loss"])
    assert len(LaddPipeline(model, tokenizer=tokenizer)(num_steps=2).texts) == 1


# --- training ---


def model_for(tiny_model, **overrides):
    sizes = {"vocab_size": len(BPE), "mask_token_id": 3, "pad_token_id": 0, "max_position_embeddings": LENGTH}
    return tiny_model("none", **sizes, **overrides)


@pytest.mark.parametrize("streamed", [False, True], ids=["on disk", "streamed"])
@pytest.mark.parametrize("name", ["wrap", "pad", "filled"])
def test_a_trained_model_keeps_the_layout_of_its_blocks(make_trainer, tiny_model, tmp_path, name, streamed):
    blocks = blocks_of(FRAMES[name][0], streamed=streamed)
    data = blocks.repeat() if streamed else blocks
    trainer = make_trainer(model_for(tiny_model), data=data, max_steps=1, trainer_options={"processing_class": BPE})
    trainer.train()
    trainer.save_pipeline(str(tmp_path / "pipeline"))
    config = LaddPipeline.from_pretrained(tmp_path / "pipeline").model.config
    assert {"text_lengths": None, **text_layout(blocks)} == {
        "text_frame": config.text_frame,
        "text_lengths": config.text_lengths,
    }


def test_a_model_that_has_a_frame_keeps_it_and_that_is_told(make_trainer, tiny_model, monkeypatch):
    told = []
    monkeypatch.setattr(sys.modules["ladd_hf.data.text_layout"].logger, "warning_once", told.append)
    same = model_for(tiny_model, **text_layout(blocks_of({"mode": "wrap"})))
    make_trainer(same, data=blocks_of({"mode": "wrap"}))
    assert not told
    make_trainer(same, "other", data=blocks_of({"mode": "pack"}))
    assert len(told) == 1 and "which stays" in told[0]
    assert TextFrame.of(same.config) == FRAMES["wrap"][1]


def test_lengths_are_those_of_the_last_training_and_of_the_frame_that_is_kept(make_trainer, tiny_model):
    model = model_for(tiny_model)
    short, long = (
        token_blocks(Dataset.from_dict({"text": [text] * 4}), BPE, LENGTH, "pad") for text in ("a", "abcdef")
    )
    for blocks in (short, long):
        make_trainer(model, data=blocks)
        assert model.config.text_lengths == text_layout(blocks)["text_lengths"]
    assert text_layout(short) != text_layout(long)
    before = model.config.text_frame, model.config.text_lengths
    make_trainer(model, data=blocks_of({"mode": "wrap"}))
    assert (model.config.text_frame, model.config.text_lengths) == before
    packed = model_for(tiny_model, **text_layout(blocks_of({"mode": "wrap"})))
    make_trainer(packed, data=short)
    assert packed.config.text_lengths is None
