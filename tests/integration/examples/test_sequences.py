"""Sequences that the example makes of texts: their column, their lines, and those of the paper's rows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.corpora import SENTENCES
from helpers.examples import train_ladd as example
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

CONFIGS = Path(__file__).resolve().parents[3] / "examples" / "configs"
TEXTS = [f"{sentence} {number}" for number in range(5) for sentence in SENTENCES]


@pytest.fixture
def rows(tmp_path):
    """A folder of JSON lines with the texts in the column `body`."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for split in ("train", "validation"):
        lines = [json.dumps({"title": "none", "body": text}) for text in TEXTS]
        (folder / f"{split}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture
def like_qwens(tmp_path):
    """A folder of a tokenizer that has, as Qwen's, no token to begin texts, and not <|endoftext|> to end them."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|endoftext|>", "<|im_end|>"]
    plain = Tokenizer(models.BPE({token: number for number, token in enumerate([*alphabet, *special])}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token=special[0], eos_token=special[1])
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def task_of(recipe, rows, *flags):
    given = ("--data", str(rows), "--text_column", "body", "--length", "16", "--use_cpu", *map(str, flags))
    run, model, *_ = example.parse_arguments([str(CONFIGS / recipe), *given])
    return example.make_task(run, max(1, model.num_latents))


@pytest.mark.parametrize("recipe", ["lm1b-mdlm.yaml", "owt-di-64.yaml"])
def test_a_row_of_the_papers_packs_texts_as_its_authors_do(rows, like_qwens, recipe):
    task = task_of(recipe, rows, "--tokenizer", like_qwens, "--num_proc", 1, "--latent_length", 5)
    end = task.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    stream = [token for text in TEXTS for token in [*task.tokenizer(text, add_special_tokens=False)["input_ids"], end]]
    expected = [[end, *stream[place : place + 14], end] for place in range(0, len(stream) - 13, 14)]
    assert np.array(task.train_dataset(1, 0)["input_ids"]).tolist() == expected
    assert {task.vocabulary[f"{role}_token_id"] for role in ("bos", "eos", "pad")} == {end}
    assert task.vocabulary["mask_token_id"] == len(task.tokenizer) - 1


def test_a_padded_row_holds_a_text_cut_off_where_it_is_too_long(rows, like_qwens):
    flags = ("--packing", "pad", "--truncate", "true", "--num_proc", 1, "--latent_length", 5)
    task = task_of("lm1b-co-32.yaml", rows, "--tokenizer", like_qwens, *flags)
    end = task.tokenizer.convert_tokens_to_ids("<|endoftext|>")
    spelt = [task.tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    expected = [[end, *ids[:14], end] for ids in spelt if len(ids) + 2 >= 5]
    data = task.train_dataset(1, 0)
    assert [row["input_ids"][row["attention_mask"]].tolist() for row in data] == expected
    assert len(expected) < len(TEXTS), "some are shorter than the latents"


def test_a_sample_is_shown_without_the_padding_after_it(rows):
    tokenizer = task_of("python-docs-di.yaml", rows, "--packing", "pad").tokenizer
    ids = tokenizer("a b", add_special_tokens=False)["input_ids"]
    assert example.decoded(tokenizer, ids + [tokenizer.pad_token_id] * 3) == "a b"
    assert example.decoded(tokenizer, [tokenizer.pad_token_id]) == ""
    assert example.decoded(tokenizer, [*ids, tokenizer.mask_token_id]) == "a b[MASK]", "what is wrong is shown"


@pytest.mark.parametrize(("sample_by", "number"), [("document", 1), ("line", 4), ("paragraph", 2)])
def test_texts_of_a_file_are_told_by_what_parts_them(tmp_path, sample_by, number):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.txt").write_text("one two\nthree\n\nfour\n")
    flags = [str(CONFIGS / "python-docs-mdlm.yaml"), "--data", str(tmp_path), "--sample_by", sample_by]
    assert len(example.make_task(example.parse_arguments(flags)[0]).splits["train"]) == number


@pytest.mark.parametrize("streaming", ["true", "false"])
def test_one_file_is_enough_to_train_on(tmp_path, streaming):
    path = tmp_path / "mine[1].txt"
    path.write_text("a text of some length\n" * 100)
    flags = [str(CONFIGS / "python-docs-mdlm.yaml"), "--data", str(path), "--length", "16", "--streaming", streaming]

    def texts(*more):
        splits = example.make_task(example.parse_arguments([*flags, *more])[0]).splits
        return {name: "".join(row["text"] for row in data) for name, data in splits.items()}

    splits = texts()
    assert splits.keys() == {"train", "validation"} and splits["train"] + splits["validation"] == path.read_text()
    assert len(texts("--held_out", "0.5")["validation"]) == len(path.read_text()) // 2
    with pytest.raises(ValueError, match=r"'train' and one of 'validation' and 'test' are needed"):
        texts("--held_out", "0")
