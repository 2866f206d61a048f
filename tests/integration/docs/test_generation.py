"""The page on generation names options that the schedulers have."""

from __future__ import annotations

import re
from ast import literal_eval
from pathlib import Path

from ladd_hf import LaddJointScheduler, LaddScheduler, LaddSequentialScheduler

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "generation.md").read_text()


def test_its_options_are_the_schedulers_own():
    options = re.findall(r"^\| `(\w+)=(.*?)`(?: \(default\))? \|", PAGE, re.MULTILINE)
    assert len(options) == 13
    for name, text in options:
        value = literal_eval(text)
        for scheduler_class in (LaddScheduler, LaddJointScheduler, LaddSequentialScheduler):
            assert scheduler_class(**{name: value}).config[name] == value
