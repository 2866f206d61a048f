"""The page on schedules names the arguments that there are."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from ladd_hf import tune_schedule

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "schedules.md").read_text()


def test_its_table_names_arguments():
    rows = re.findall(r"^\| (`.*?`) \|", PAGE, re.MULTILINE)[1:]
    named = {name for row in rows for name in re.findall(r"`(\w+)", row)} - {"argument"}
    assert named and named <= set(inspect.signature(tune_schedule).parameters)
