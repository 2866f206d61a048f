"""The page on data shows calls that work, names the corpora that there are, and speeds that were measured."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddTrainer, LaddTrainingArguments
from ladd_hf.data import byte_level_bpe, known_corpora

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "data.md").read_text()


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the page's calls take for granted."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "my-texts"
    folder.mkdir()
    for name in ("one", "two", "test"):
        (folder / f"{name}.txt").write_text("".join(f"Line {number} of file {name}.\n" for number in range(200)))
    return {
        "LaddConfig": LaddConfig,
        "LaddForDiffusionLM": LaddForDiffusionLM,
        "LaddTrainer": LaddTrainer,
        "byte_level_bpe": byte_level_bpe,
        "itertools": itertools,
        "sizes": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        "arguments": LaddTrainingArguments(
            "run", max_steps=2, per_device_train_batch_size=2, use_cpu=True, disable_tqdm=True, save_strategy="no"
        ),
    }


def test_its_calls_run_in_order(names):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(block, names)
    assert names["trainer"].state.global_step == 2
    assert len(names["own"]["train"]) == 2 and len(names["lines"]) == 400 and len(names["test"]) == 1
    assert names["packed"].column_names == ["input_ids"]
    eleven = [row["input_ids"].tolist() for row in itertools.islice(names["blocks"], 11)]
    assert [row.tolist() for row in [*names["first"], names["eleventh"]["input_ids"]]] == eleven


def test_its_table_is_of_the_corpora_that_there_are():
    rows = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \| ((?:train|validation|test|, )+) \|", PAGE, re.MULTILINE)
    table = {name: tuple(splits.split(", ")) for names, splits in rows for name in re.findall(r"`([\w-]+)`", names)}
    assert table == {name: corpus.splits for name, corpus in known_corpora().items()}


def test_its_speeds_are_the_measured_ones():
    rows = json.loads((ROOT / "benchmarks" / "results" / "input_pipeline.json").read_text())["rows"]
    for row in rows:
        millions, share = row["characters_per_second"] / 1e6, row["wait_share"]
        line = f"| {row['tokenizer']} | {row['path']} | {millions:.1f} million | {share:.2%} |"
        assert line in PAGE
        assert millions >= 2 and share < 0.02, "what it is meant to reach"
