"""Pictures of a terminal: what is printed, coloured, with nothing to fetch and no place of a machine."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PICTURES = sorted((ROOT / "docs" / "pictures").glob("terminal-*.svg"))

pytest.importorskip("rich")


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import terminal_pictures
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return terminal_pictures


def texts_of(drawn):
    return unescape(" ".join(re.findall(r"<text[^>]*>([^<]*)</text>", drawn))).replace("\xa0", " ")


def test_a_picture_holds_command_and_output_in_its_colours(script):
    drawn = script.picture("ladd show", "\x1b[1mstep 1\x1b[0m\n\x1b[30;48;2;1;2;3mred\x1b[0m & <black>\nleft\rright\n")
    told = texts_of(drawn)
    assert "ladd show" in told and "step 1" in told and "& <black>" in told
    assert "right" in told and "left" not in told, "a line that is written over is not seen"
    assert "#010203" in drawn and "@font-face" not in drawn and "url(http" not in drawn


def test_what_is_printed_is_seen_by_a_terminal_and_a_failure_is_told(script, monkeypatch, tmp_path):
    (tmp_path / "ladd_command.py").write_text(
        "import os, sys\n"
        "print(sys.stdout.isatty(), os.get_terminal_size().columns, sys.argv[1])\n"
        "sys.exit(len(sys.argv) - 2)\n"
    )
    monkeypatch.setattr(script, "ROOT", tmp_path)
    assert script.printed(["one"]) == f"True {script.COLUMNS} one\n"
    with pytest.raises(subprocess.CalledProcessError):
        script.printed(["one", "two"])


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_the_pictures_of_the_docs_are_of_the_scripts_commands(script, path):
    drawn = path.read_text(encoding="utf-8")
    told, words = texts_of(drawn), script.COMMANDS[path.stem.removeprefix("terminal-")]
    assert f"$ ladd {' '.join(words)}" in told
    assert not re.search(r"(?<!\S)/\w+/|Warning|Failed", told), "no file of a machine, nor a line of another package"
    assert "@font-face" not in drawn and "url(http" not in drawn
    assert f"pictures/{path.name}" in (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")


def test_each_command_has_its_picture(script):
    assert [path.stem for path in PICTURES] == sorted(f"terminal-{name}" for name in script.COMMANDS)
