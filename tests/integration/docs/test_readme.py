"""The README's table names tests that there are, and its commands are whole."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).resolve().parents[3] / "README.md"


def test_each_tick_names_a_test():
    table = README.read_text().split("## Beside others", 1)[1].split("##", 1)[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("|")][2:]
    ticks = [re.fullmatch(r" \[✓\]\((tests/[\w/]+\.py)\) ", row[2]) for row in rows]
    assert len(ticks) > 10 and all(ticks)
    assert all((README.parent / tick[1]).is_file() for tick in ticks) and len({tick[1] for tick in ticks}) == len(ticks)


def test_the_readme_has_its_two_commands_on_one_line_each():
    lines = [line for line in README.read_text().splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert lines[0].endswith("accelerate launch examples/train_ladd.py")
    assert lines[1].endswith("-m pytest")
