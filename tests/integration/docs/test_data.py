"""The page on data shows calls that work, names the corpora that there are, and speeds that were measured."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddTrainer, LaddTrainingArguments
from ladd_hf.data import byte_level_bpe, known_corpora, text_layout

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "data.md").read_text()


@pytest.fixture
def names(tmp_path, monkeypatch):
    """Names that the page's calls assume."""
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
        "text_layout": text_layout,
        "itertools": itertools,
        "sizes": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
        "arguments": LaddTrainingArguments(
            "run", max_steps=2, per_device_train_batch_size=2, use_cpu=True, disable_tqdm=True, save_strategy="no"
        ),
    }


def test_its_calls_run_in_order(names):
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(block, names)
    assert names["trainer"].state.global_step == 2
    assert len(names["own"]["train"]) == 2 and len(names["lines"]) == 400 and len(names["test"]) == 1
    assert names["packed"].column_names == ["input_ids"]
    assert names["tuner"].state.global_step == 2 and len(names["examples"]) == 2
    eleven = [row["input_ids"].tolist() for row in itertools.islice(names["blocks"], 11)]
    assert [row.tolist() for row in [*names["first"], names["eleventh"]["input_ids"]]] == eleven


def test_its_table_is_of_the_corpora_that_there_are():
    rows = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \| ((?:train|validation|test|, )+) \|", PAGE, re.MULTILINE)
    table = {name: tuple(splits.split(", ")) for names, splits in rows for name in re.findall(r"`([\w-]+)`", names)}
    assert table == {name: corpus.splits for name, corpus in known_corpora().items()}


def test_its_speeds_are_the_measured_ones():
    found = json.loads((ROOT / "benchmarks" / "results" / "input_pipeline.json").read_text())
    for speed, waiting in zip(found["speed"]["rows"], found["waiting"]["rows"], strict=True):
        kind = [speed["tokenizer"], speed["path"]]
        assert kind == [waiting["tokenizer"], waiting["path"]]
        millions, share = speed["characters_per_second"] / 1e6, waiting["wait_share"]
        encoded = waiting["tokens_encoded"] / waiting["tokens_used"]
        cells = [*kind, f"{millions:.1f} million", f"{share:.2%}", f"{encoded:.0%}" if encoded else "none"]
        assert f"| {' | '.join(cells)} |" in PAGE
        assert millions >= 2 and share < 0.02, "what it is meant to reach"


def test_while_streams_were_timed_they_tokenized_what_was_used():
    waiting = json.loads((ROOT / "benchmarks" / "results" / "input_pipeline.json").read_text())["waiting"]
    settings, rows = waiting["settings"], {True: [], False: []}
    for row in waiting["rows"]:
        rows[row["path"] == "stream"].append(row)
    assert all(row["tokens_encoded"] == 0 for row in rows[False])
    window = settings["window"] * settings["length"]
    for row in rows[True]:
        assert row["tokens_used"] >= 5 * window and row["encoder_calls"] >= 5
        assert abs(row["tokens_encoded"] - row["tokens_used"]) < 2 * window
