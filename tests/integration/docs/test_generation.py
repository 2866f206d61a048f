"""The page on generation shows calls that work."""

from __future__ import annotations

import re
from ast import literal_eval
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ladd_hf import LaddJointScheduler, LaddPipeline, LaddScheduler, LaddSequentialScheduler

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "generation.md").read_text()
WORDS = sorted({word for text in re.findall(r'"([^"]*)"', PAGE) for word in re.findall(r"\w+", text)} | {"."})


@pytest.fixture
def names(stirred_model):
    """Names that the page's calls assume."""
    vocabulary = {word: number for number, word in enumerate(["[PAD]", *WORDS, "[MASK]"])}
    plain = Tokenizer(models.WordLevel(vocabulary, unk_token="."))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, pad_token="[PAD]", mask_token="[MASK]")
    size = len(vocabulary)
    model = stirred_model("discrete", vocab_size=size, mask_token_id=size - 1, max_position_embeddings=16)
    pipe = LaddPipeline(model, LaddSequentialScheduler(), tokenizer)
    pipe.set_progress_bar_config(disable=True)
    return {
        "pipe": pipe,
        "tokenizer": tokenizer,
        "texts": ["The cat", "A dog sat"],
        "mask_id": size - 1,
        "period": vocabulary["."],
        "LaddPipeline": LaddPipeline,
        "LaddSequentialScheduler": LaddSequentialScheduler,
    }


def test_its_calls_run(names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(block, names)
    processed = names["pipe"](num_steps=4, batch_size=20, logits_processor=[names["OnlyAtTheEnd"]()])
    assert not (processed.sequences[:, :10] == names["period"]).any()


def test_its_options_are_the_schedulers_own():
    options = re.findall(r"^\| `(\w+)=(.*?)`(?: \(default\))? \|", PAGE, re.MULTILINE)
    assert len(options) == 13
    for name, text in options:
        value = literal_eval(text)
        for scheduler_class in (LaddScheduler, LaddJointScheduler, LaddSequentialScheduler):
            assert scheduler_class(**{name: value}).config[name] == value
