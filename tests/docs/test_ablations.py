"""The tables of ablations are what their script found, and each of its rows is one of its own."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "ablations.md").read_text()


def script():
    spec = importlib.util.spec_from_file_location("text_ablations", ROOT / "benchmarks" / "text_ablations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("question", ["latents", "samples"])
def test_a_table_holds_what_was_found_and_nothing_else(question):
    ablations = script()
    found = json.loads((ROOT / "benchmarks" / "results" / f"text_{question}.json").read_text())
    head = ablations.HEADS[question].splitlines()
    lines = PAGE.splitlines()
    start = lines.index(head[0])
    assert lines[start + 1] == head[1]
    end = lines.index("", start)
    rows = {ablations.table_row(question, row, outcome) for row, outcome in found.items()}
    assert set(lines[start + 2 : end]) == rows and len(rows) > 4
    assert all(outcome["flags"] == ablations.CHANGES[question][row] for row, outcome in found.items())
