"""The page on measuring names every judge and measure with its numbers and options."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import datasets

from ladd_hf.data import character_tokenizer
from ladd_hf.metrics import MODEL_MEASURES
from ladd_hf.tasks import JUDGES, TextTask

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "measuring.md").read_text()
ROWS = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE, re.MULTILINE))
TEXTS = [f"the cat sat on the mat and dog number {n} ran to the log" for n in range(60)]


def splits():
    parts = {"train": TEXTS[:40], "validation": TEXTS[40:]}
    return {name: datasets.Dataset.from_dict({"text": rows}) for name, rows in parts.items()}


def test_its_table_names_every_judge_with_its_measures_and_options():
    assert set(ROWS) == {*JUDGES, *MODEL_MEASURES}
    for name, cells in ROWS.items() - {(name, ROWS[name]) for name in MODEL_MEASURES}:
        measures, *_, options = cells.split(" | ")
        assert set(re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", options))) == set(
            inspect.signature(JUDGES[name]).parameters
        )
        (*made,) = TextTask("words", splits(), character_tokenizer(), 32, judges=[name]).measures
        assert {made[0].name, made[-1].name} <= set(re.findall(r"`(\w+)`", measures))


def test_its_table_names_every_measure_of_models_with_its_numbers_and_options():
    for name, measure in MODEL_MEASURES.items():
        numbers, options = ROWS[name].split(" | ")
        assert set(re.findall(r"`(\w+)`", options)) == set(inspect.signature(measure).parameters)
        told = {re.sub(r"[\d.]+$", "<t>", number.name) for number in measure().numbers}
        assert set(re.findall(r"`([\w<>]+)`", numbers)) == told
