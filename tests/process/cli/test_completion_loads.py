"""Completion waits for no library: a shell asks for it at each press of a key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[3] / "src"


@pytest.mark.parametrize(
    ("line", "first"),
    [
        ("ladd train --max_st", "--max_steps"),
        ("ladd train python-d", "python-docs-co"),
        ("ladd generate python-docs-d", "python-docs-di"),
    ],
)
def test_a_word_is_completed_without_the_package(line, first, tmp_path):
    asked = {"_LADD_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    environment = {**os.environ, **asked, "PYTHONPATH": str(SOURCE), "PYTHONPROFILEIMPORTTIME": "1"}
    command = [sys.executable, "-m", "ladd_command"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.split()[:1] == [first], done.stderr[-2000:]
    loaded = {row.split("|")[-1].strip().split(".")[0] for row in done.stderr.splitlines() if "|" in row}
    assert "typer" in loaded and loaded.isdisjoint({"ladd_hf", "torch", "transformers", "accelerate", "yaml"})
