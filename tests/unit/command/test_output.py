"""Output of the jobs: what a terminal shows, and the time that is left."""

from __future__ import annotations

import io
import json
import sys

import pytest

from ladd_hf.cli.output import ShareDone, nothing_else, printable, say, table


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_document_can_be_written_in_any_encoding(monkeypatch, encoding):
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr("sys.stdout", out)
    say({"text": "größe ░"}, ["not this"], as_json=True)
    out.flush()
    written = out.buffer.getvalue().decode(encoding)
    assert json.loads(written) == {"text": "größe ░"} and ("ö" in written) == (encoding == "utf-8")


def test_nothing_but_the_document_is_on_standard_output(capsys):
    with nothing_else(True):
        print("by the way")
    with nothing_else(False):
        print("for people")
    assert capsys.readouterr() == ("for people\n", "by the way\n")


def test_values_stand_in_a_column_and_their_further_lines_below():
    assert table([("a", 1), ("longer", "x\ny"), ("", "z")]) == ["a       1", "longer  x", "        y", "        z"]


def test_printable_text_is_unchanged():
    assert printable("größe\n\ta ░") == "größe\n\ta ░"
    assert printable("\x1b]0;title\x07\r\x9b1m") == "\\x1b]0;title\\x07\\r\\x9b1m"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_time_left_is_shown_where_people_see_it(monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr("sys.stderr", Terminal())
    tell = ShareDone("Losses")
    now = 10.0
    tell(0.25)
    now = 40.0
    tell(1.0)
    assert sys.stderr.getvalue() == "\rLosses:  25%, 30 s left     \rLosses: 100%, 40 s          \n"


def test_time_left_is_not_written_to_a_file(monkeypatch):
    monkeypatch.setattr("sys.stderr", file := io.StringIO())
    ShareDone("Losses")(0.5)
    assert file.getvalue() == ""
