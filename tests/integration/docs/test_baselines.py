"""The tables of baselines are what their script found."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "baselines.md").read_text()


def test_the_tables_hold_what_was_found():
    spec = importlib.util.spec_from_file_location("matched_baselines", ROOT / "benchmarks" / "matched_baselines.py")
    script = sys.modules["matched_baselines"] = importlib.util.module_from_spec(spec)  # its dataclass looks there
    spec.loader.exec_module(script)
    found = json.loads((ROOT / "benchmarks" / "results" / "matched_baselines.json").read_text())
    assert tuple(found) == script.RECIPES
    for recipe, rows in found.items():
        ratios = {name: row.pop("ratios", None) for name, row in rows.items()}
        matched = {name: row.pop("matched", "").replace("_", " ") for name, row in rows.items()}
        costs = {name: script.Cost(**row) for name, row in rows.items()}
        table = [script.table_row(name, cost, costs[recipe], matched[name]) for name, cost in costs.items()]
        assert "\n".join([script.HEAD, *table]) in PAGE
        for name, cost in costs.items():
            if ratios[name]:
                assert ratios[name]["flops"] == cost.flops / costs[recipe].flops
