"""Output of the jobs: lines for people, or one JSON document for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from ..utils.time_left import TimeLeft


def say(document: Any, lines: Iterable[str], as_json: bool) -> None:
    """Prints the document, or the lines that say the same to people."""
    if as_json:
        print(json.dumps(document, ensure_ascii=not (sys.stdout.encoding or "").lower().startswith("utf")))
    else:
        for line in lines:
            print(line)


def printable(text: str) -> str:
    """Returns a text whose control characters, but for ends of lines and tabs, do nothing to a terminal."""
    return "".join(one if one in "\n\t" or one.isprintable() else one.encode("unicode_escape").decode() for one in text)


@contextmanager
def nothing_else(as_json: bool) -> Iterator[None]:
    """Context in which what is printed goes to standard error, if standard output is for the document alone."""
    if as_json:
        with redirect_stdout(sys.stderr):
            yield
    else:
        yield


def table(rows: Iterable[tuple[str, Any]]) -> list[str]:
    """Formats names and values in two columns; a value of several lines goes on below itself."""
    told = [(name, str(value).splitlines() or [""]) for name, value in rows]
    width = max((len(name) for name, _ in told), default=0) + 2
    return [
        f"{name if not number else '':<{width}}{line}".rstrip()
        for name, lines in told
        for number, line in enumerate(lines)
    ]


class ShareDone:
    """A line on standard error with the share that is done and the time left, where people see it as it changes."""

    def __init__(self, what: str) -> None:
        self._what, self._share, self._clock = what, 0.0, TimeLeft(1)

    def __call__(self, share: float) -> None:
        """Shows that a share of the work is done."""
        if not sys.stderr.isatty() or not share:
            return
        left, self._share = self._clock.after(share - self._share), share
        told = f"{left:.0f} s left" if share < 1 else f"{self._clock.passed:.0f} s"
        print(f"\r{self._what}: {share:4.0%}, {told:<14}", end="" if share < 1 else "\n", file=sys.stderr, flush=True)
