"""Linter, formatter and type checker find nothing, with the settings in pyproject.toml."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("src", "tests", "examples", "benchmarks", "docs")
REPAIRS = {
    "ruff check": "`ruff check --fix` repairs some of it",
    "ruff format --check": "`ruff format` rewrites these files",
    "mypy": "types are to be mended by hand",
}


def run(command: str, *options: str | Path) -> None:
    """Runs a tool of this environment, and shows what it said if it found something. A tool that is missing fails."""
    environment = {name: value for name, value in os.environ.items() if name != "MYPYPATH"}  # pyproject.toml has it
    process = subprocess.run(
        [sys.executable, "-m", *command.split(), *options], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert process.returncode == 0, f"{command}: {REPAIRS[command]}.\n{process.stdout}{process.stderr}"


def test_types_are_right():
    run("mypy", "--cache-dir", os.devnull)  # its 123 MB take seconds to write, and nobody reads them


@pytest.mark.parametrize("command", ["ruff check", "ruff format --check"])
def test_style_is_kept(command):
    run(command, "--no-cache", *FOLDERS)
