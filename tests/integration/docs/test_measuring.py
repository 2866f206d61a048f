"""The page on measuring shows calls that work, and names every judge, its measures and its options."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import datasets
import torch
from helpers.causal_lms import causal_lm, word_tokenizer

from ladd_hf.data import character_tokenizer
from ladd_hf.tasks import JUDGES, TextTask

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "measuring.md").read_text()
TEXTS = [f"the cat sat on the mat and dog number {n} ran to the log" for n in range(60)]


def splits():
    parts = {"train": TEXTS[:40], "validation": TEXTS[40:]}
    return {name: datasets.Dataset.from_dict({"text": rows}) for name, rows in parts.items()}


def test_its_calls_run_in_order(tmp_path, monkeypatch, tiny_model, capsys):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path / "metrics"))
    tokenizer = character_tokenizer()
    causal_lm(positions=32).save_pretrained(tmp_path / "judge")
    word_tokenizer().save_pretrained(tmp_path / "judge")
    names = {
        "splits": splits(),
        "tokenizer": tokenizer,
        "samples": torch.tensor([tokenizer(text).input_ids[:32] for text in TEXTS[:9]]),
        "training_texts": TEXTS[:40],
        "texts": TEXTS[40:],
        "judge_folder": str(tmp_path / "judge"),
        "model": tiny_model("discrete"),
        "batches": torch.randint(1, 10, (12, 12)).split(5),
    }
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(block, names)
    assert {"nats", "nats_stderr", "entropy", "distinct_2", "memorized"} < set(names["judgement"])
    assert "under judge" in capsys.readouterr().out


def test_its_table_names_every_judge_with_its_measures_and_options():
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE, re.MULTILINE))
    assert set(rows) == set(JUDGES)
    for name, cells in rows.items():
        measures, *_, options = cells.split(" | ")
        assert set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", options))) == set(
            inspect.signature(JUDGES[name]).parameters
        )
        (*made,) = TextTask("words", splits(), character_tokenizer(), 32, judges=[name]).measures
        assert {made[0].name, made[-1].name} <= set(re.findall(r"`(\w+)`", measures))
