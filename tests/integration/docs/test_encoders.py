"""The page on encoders names the poolings that there are."""

from __future__ import annotations

import re
from pathlib import Path

from ladd_hf.models.encoders.pooling import POOLINGS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "encoders.md").read_text()


def test_its_table_names_every_pooling():
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) - {"pooling"} == set(POOLINGS)
