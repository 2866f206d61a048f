"""The page on data names the corpora that there are, and speeds that were measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ladd_hf.data import known_corpora

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "data.md").read_text()


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
