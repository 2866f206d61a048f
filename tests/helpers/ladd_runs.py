"""Runs of `ladd` as the pages print them, in this process and made small, in a folder with what the pages speak of."""

from __future__ import annotations

import re
import sys
from contextlib import contextmanager

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging
from typer.testing import CliRunner

import ladd_command.runs
from helpers.example_runs import TINY
from helpers.printed_blocks import ROOT
from ladd_command.app import app

# What makes each run small; later flags count.
_STEPS = ["--max_steps", "3", "--warmup_steps", "1", "--use_cpu"]
SMALL = {
    "train": [*TINY, "--hidden_size", "32", "--num_hidden_layers", "1", "--use_cpu"],
    "write": ["--num_samples", "3", "--cpu"],
    "evaluate": ["--num_samples", "4", "--num_sequences", "2", "--budgets", "2", "--cpu"],
    "tune": ["--num_texts", "2", "--cpu"],
    "finetune": [*_STEPS, "--eval_sequences", "2"],
    "distill": _STEPS,
}


@contextmanager
def folder_of_a_reader(folder, monkeypatch):
    """Works in a folder with the files `my.txt` and `lines.txt`, in one process; verbosity is left as it was."""
    monkeypatch.chdir(folder)
    english = "\n".join(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))
    (folder / "my.txt").write_text(english)
    (folder / "lines.txt").write_text("\n".join(re.findall(r"^[A-Z].{100,}$", english, re.MULTILINE)[:12]))
    monkeypatch.setattr(ladd_command.runs, "launches", lambda processes, flags: False)
    libraries = (transformers_logging, diffusers_logging)
    verbosity = [library.get_verbosity() for library in libraries]
    yield folder
    for library, level in zip(libraries, verbosity, strict=True):
        library.set_verbosity(level)


def run_small(words, monkeypatch):
    """Runs `ladd` with these words, and returns its standard output."""
    words = [*words, *SMALL.get(words[0], [])]
    monkeypatch.setattr(sys, "argv", ["ladd", *words])
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, (words, result.output[-2000:], result.exception)
    return result.stdout
