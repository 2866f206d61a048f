"""The page on encoders shows calls that work, without a network."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from datasets import Dataset
from helpers.encoders import letters, save_encoder, word_pieces

from ladd_hf import LaddPipeline
from ladd_hf.models.encoders.pooling import POOLINGS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "encoders.md").read_text()


def test_its_calls_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    tokenizer, own = letters("abcdefghi"), word_pieces(["abc def ghi"], vocab_size=30)
    rows = torch.randint(1, 10, (64, 16), generator=torch.Generator().manual_seed(0)).tolist()
    names = {
        "tokenizer": tokenizer,
        "encoder": save_encoder(tmp_path / "plain", "qwen3"),
        "encoder_with_tokenizer": save_encoder(tmp_path / "with", "bert", own, vocab_size=len(own)),
        "train_data": Dataset.from_dict({"input_ids": rows}),
        "eval_data": Dataset.from_dict({"input_ids": rows[:8]}),
    }
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    exec("\n".join(blocks[:1]), names)
    assert names["latents"].shape == (1, 4, 8)
    exec("\n".join(blocks[1:]), names)
    (stated,) = re.findall(r"says what they take on disk: (.*)", PAGE)
    assert stated in names["train_data"].info.description
    pipe = LaddPipeline.from_pretrained("my-pipeline")
    assert len(pipe(num_steps=4, batch_size=2).texts) == 2


def test_its_table_names_every_pooling():
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) - {"pooling"} == set(POOLINGS)
