"""Tasks: data that fits the model, held-out texts apart from training ones, and judges that know good from bad."""

from __future__ import annotations

import itertools
import json
import math
import re

import datasets
import numpy as np
import pytest
import torch
from helpers.encoders import word_pieces
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from ladd_hf import LaddConfig
from ladd_hf.data import byte_level_bpe, character_tokenizer, sawtooth_dataset
from ladd_hf.metrics import NGramModel, unigram_entropy
from ladd_hf.tasks import SawtoothTask, TextTask

WORDS = ["the cat sat on the mat", "a dog ran to the log", "the sun is hot and the sea is cold"]


def corpus(streaming=False):
    texts = [f"{WORDS[i % 3]} and {WORDS[(i * i + 1) % 3]} " for i in range(90)]
    splits = {"train": texts[:60], "validation": texts[60:]}
    made = {name: datasets.Dataset.from_dict({"text": rows}) for name, rows in splits.items()}
    return {name: rows.to_iterable_dataset() for name, rows in made.items()} if streaming else made


@pytest.fixture
def text_task():
    return TextTask("words", corpus(), character_tokenizer(), length=16, judge_order=4)


@pytest.mark.parametrize("make", [lambda: SawtoothTask(16), lambda: TextTask("w", corpus(), character_tokenizer(), 16)])
def test_a_tasks_vocabulary_and_examples_fit_a_model(make):
    task = make()
    config = LaddConfig(**task.vocabulary, hidden_size=16, num_attention_heads=2, max_position_embeddings=task.length)
    for data in (task.train_dataset(20, 0), task.eval_dataset(5, 0)):
        ids = torch.as_tensor(np.asarray(data[0]["input_ids"]).astype(np.int64))
        assert ids.shape == (16,)
        assert (ids != config.mask_token_id).all() and (ids < config.vocab_size).all()
    assert len(task.eval_dataset(5, 0)) == 5


def test_the_sawtooth_is_judged_by_its_law():
    task = SawtoothTask(16)
    perfect = task.judge(sawtooth_dataset(2000, 16, seed=5)[:]["input_ids"])
    assert perfect["nats"] == pytest.approx(task.reference()["nats"], abs=0.02) and "entropy" not in perfect
    assert task.judge(torch.randint(0, 2, (500, 16)))["nats"] > perfect["nats"] + 0.05
    assert task.compare({"nats": 0.9}, task.reference()) == pytest.approx(1)
    assert task.compare({"nats": 0.9}, {"nats": 0.9}) == 0


@pytest.mark.parametrize("make", [lambda: SawtoothTask(16), lambda: TextTask("w", corpus(), character_tokenizer(), 16)])
def test_samples_and_data_get_the_numbers_that_the_task_names(make):
    task = make()
    names = [measure.name for measure in task.measures]
    ids = torch.as_tensor(np.stack(task.eval_dataset(3, 0)[:]["input_ids"]).astype(np.int64))
    numbers = [number for name in names for number in (name, f"{name}_stderr")]
    assert list(task.judge(ids)) == list(task.reference()) == numbers


def test_texts_are_judged_by_what_the_tokenizer_decodes(text_task):
    texts = ["the dog sat on th", "a cat ran to the"]
    ids = torch.tensor([text_task.tokenizer(text).input_ids[:16] for text in texts])
    judged = text_task.judge(ids)
    written = [text[:16] for text in texts]
    assert judged["nats"] == pytest.approx(NGramModel(corpus()["train"]["text"], 4).nats_per_character(written))
    assert judged["entropy"] == pytest.approx(unigram_entropy([list(text) for text in written]))


@pytest.mark.parametrize("streaming", [False, True])
def test_the_judge_learns_texts_as_the_tokenizer_gives_them_back(streaming):
    """The character tokenizer writes 27 symbols: capitals and punctuation in a corpus change nothing."""
    written = [f"{text.replace(' and', ', and').replace('the', 'The').strip()}! " for text in corpus()["train"]["text"]]
    given = [re.sub("[^a-z]+", " ", text.lower()) for text in written]

    def reference(texts):
        splits = {"train": texts[:40], "validation": texts[40:]}
        made = {name: datasets.Dataset.from_dict({"text": rows}) for name, rows in splits.items()}
        if streaming:
            made = {name: rows.to_iterable_dataset() for name, rows in made.items()}
        return TextTask("words", made, character_tokenizer(), 16, judge_order=4).reference()

    assert reference(written) == reference(given)


def test_a_judge_that_would_learn_nothing_is_refused():
    latin, greek = word_pieces(WORDS), ["η γατα καθεται στο χαλι"] * 40
    splits = {name: datasets.Dataset.from_dict({"text": greek}) for name in ("train", "validation")}
    with pytest.raises(ValueError, match="corpus has no characters"):
        TextTask("words", splits, latin, 16).reference()


def test_held_out_texts_are_better_than_noise_and_repetition_is_told_by_its_entropy(text_task):
    reference = text_task.reference()
    noise = text_task.judge(torch.randint(0, 27, (50, 16)))
    assert noise["nats"] > reference["nats"] + 1
    repeated = text_task.judge(torch.tensor(text_task.tokenizer("the cat the cat ").input_ids).repeat(10, 1))
    assert repeated["nats"] < noise["nats"] - 1 and repeated["entropy"] < reference["entropy"] - 0.2


def test_perplexities_are_compared(text_task):
    assert text_task.compare(
        {"nats": 2.0, "entropy": 1.0}, {"nats": 2.0 + math.log(0.8), "entropy": 1.0}
    ) == pytest.approx(-0.2)


def test_special_tokens_are_not_judged():
    tokenizer = byte_level_bpe(corpus()["train"]["text"], 300)
    task = TextTask("words", corpus(), tokenizer, 8)
    ids = tokenizer("the cat").input_ids
    padded = torch.tensor([ids + [tokenizer.eos_token_id] + [tokenizer.pad_token_id] * 3])
    assert task.judge(padded)["nats"] == pytest.approx(task.judge(torch.tensor([ids]))["nats"])


def test_streamed_texts_are_trained_on_again_and_again_in_another_order():
    task = TextTask("words", corpus(streaming=True), character_tokenizer(), 16)
    blocks = len(TextTask("words", corpus(), character_tokenizer(), 16).train_dataset(1, 0))
    stream = iter(task.train_dataset(3 * blocks, 0))
    passes = [[tuple(next(stream)["input_ids"].tolist()) for _ in range(blocks)] for _ in range(2)]
    assert sorted(passes[0]) == sorted(passes[1]) and passes[0] != passes[1]
    assert len(task.eval_dataset(7, 0)) == 7


def test_the_judge_reads_no_more_than_it_is_told():
    few = TextTask("words", corpus(), character_tokenizer(), 16, judge_characters=100)
    read, texts = [], corpus()["train"]["text"]
    for text in texts:
        read.append(text)
        if sum(map(len, read)) >= 100:
            break
    ids = torch.tensor([few.tokenizer("the cat sat on t").input_ids])
    assert few.judge(ids)["nats"] == pytest.approx(NGramModel(read, 6).nats_per_character(["the cat sat on t"]))


def test_documents_do_not_run_into_each_other():
    words = word_pieces(WORDS)
    assert words.eos_token_id is None and words.sep_token_id is not None
    (row, *_) = TextTask("words", corpus(), words, 64).train_dataset(1, 0)["input_ids"]
    first = words(corpus()["train"]["text"][0], add_special_tokens=False)["input_ids"]
    assert row[: len(first) + 1].tolist() == [*first, words.sep_token_id]
    without = word_pieces(WORDS)
    without.sep_token = None
    with pytest.raises(ValueError, match="`separator` is ' ', which is no token"):
        TextTask("words", corpus(), without, 64).train_dataset(1, 0)


@pytest.mark.parametrize("streaming", [False, True])
def test_padded_texts_are_whole_and_those_that_are_too_short_left_out(streaming):
    texts = {"train": ["abcdefgh", "ab", "abcdefghijklm", "abcd"], "validation": ["abc", "abcde"]}
    splits = {name: datasets.Dataset.from_dict({"text": rows}) for name, rows in texts.items()}
    if streaming:
        splits = {name: split.to_iterable_dataset() for name, split in splits.items()}
    tokenizer = character_tokenizer()

    def read(split, count, **options):
        task = TextTask("letters", splits, tokenizer, 8, "pad", min_tokens=4, **options)
        data = task.train_dataset(count, 0) if split == "train" else task.eval_dataset(count, 0)
        rows = list(itertools.islice(data, count))
        return {tokenizer.decode(row["input_ids"][row["attention_mask"].astype(bool)]) for row in rows}

    assert read("train", 4) == {"abcdefgh", "ijklm", "abcd"}
    assert read("train", 3, truncate=True) == {"abcdefgh", "abcd"}
    assert read("validation", 1) == {"abcde"}


@pytest.mark.parametrize("packing", ["pack", "pad"])
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("short", ["train", "validation"])
def test_texts_that_fill_no_block_are_told_when_data_sets_are_made(packing, streaming, short):
    splits = {name: datasets.Dataset.from_dict({"text": ["abcdefgh" * 4]}) for name in ("train", "validation")}
    splits[short] = datasets.Dataset.from_dict({"text": ["abc"]})
    if streaming:
        splits = {name: split.to_iterable_dataset() for name, split in splits.items()}
    task = TextTask("letters", splits, character_tokenizer(), 8, packing, min_tokens=4)
    with pytest.raises(ValueError, match=r"do not fill a single block of 8|4 tokens .*`min_tokens`"):
        task.train_dataset(3, 0) if short == "train" else task.eval_dataset(0, 0)
    (task.eval_dataset if short == "train" else task.train_dataset)(0, 0)


def layout_of(packing="pad", tokenizer=None, **options):
    return TextTask("words", corpus(), tokenizer or character_tokenizer(), 16, packing, **options).layout


@pytest.mark.parametrize(
    "change",
    [
        {"packing": "pack"},
        {"min_tokens": 4},
        {"truncate": True},
        {"fill": "eos"},
        {"tokenizer": byte_level_bpe(WORDS, 300)},
        {"tokenizer": byte_level_bpe(WORDS[:1], 300)},
        {"block_options": {"special_tokens": False}},
    ],
    ids=str,
)
def test_its_layout_tells_what_blocks_depend_on(change):
    one, other = layout_of(), layout_of(**change)
    assert one == layout_of() and json.loads(json.dumps(other)) == other != one


def test_what_has_no_effect_is_no_part_of_the_layout():
    packed = layout_of("pack")
    assert packed == layout_of("pack", min_tokens=4) and packed != layout_of("pack", separator="")
    assert layout_of("pad") == layout_of("pad", separator="")


def test_a_corpus_without_held_out_texts_is_refused():
    with pytest.raises(ValueError, match="has the splits 'train', but"):
        TextTask("words", {"train": corpus()["train"]}, character_tokenizer(), 16)
    only_test = TextTask("w", {"train": corpus()["train"], "test": corpus()["validation"]}, character_tokenizer(), 16)
    assert len(only_test.eval_dataset(3, 0)) == 3


def test_a_tokenizer_without_a_mask_token_is_refused():
    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
    with pytest.raises(ValueError, match="with_mask_token"):
        TextTask("words", corpus(), plain, 16)


def test_texts_filled_up_with_their_ends_are_judged_as_padded_ones_are():
    texts = corpus()
    padded, filled = (
        TextTask("words", texts, byte_level_bpe(texts["train"]["text"], 300), 40, "pad", judge_order=4, fill=fill)
        for fill in ("padding", "eos")
    )
    assert padded.reference() == filled.reference()
    blocks = filled.train_dataset(1, 0)
    assert blocks.column_names == ["input_ids"] and blocks[0]["input_ids"][-1] == filled.tokenizer.eos_token_id
