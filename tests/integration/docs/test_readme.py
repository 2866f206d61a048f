"""The README's table names tests that there are, and its commands are whole."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).resolve().parents[3] / "README.md"


TICK = r"\[✓\]\((tests/[\w/]+\.py)\)"


def test_each_tick_names_a_test_and_what_a_row_promises_beside_it_has_one_of_its_own():
    table = README.read_text().split("## Beside others", 1)[1].split("##", 1)[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 10 and all(re.fullmatch(rf" {TICK}([,;] {TICK})* ", row[2]) for row in rows)
    ticks = [tick for row in rows for tick in re.findall(TICK, row[2])]
    assert all((README.parent / tick).is_file() for tick in ticks) and len(set(ticks)) == len(ticks)
    (of_metrics,) = (row[2] for row in rows if "MAUVE" in row[1])
    assert all(name in of_metrics for name in ("test_generative_perplexity", "test_unigram_entropy", "test_mauve"))
    (of_laws,) = (row[2] for row in rows if "broken code" in row[1])
    assert "laws/test_tried_mutations" in of_laws


def test_the_readme_has_its_two_commands_on_one_line_each():
    lines = [line for line in README.read_text().splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert lines[0].endswith("accelerate launch examples/train_ladd.py")
    assert lines[1].endswith("-m pytest")
