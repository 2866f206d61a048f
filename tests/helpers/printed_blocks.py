"""Runs the Python blocks of a page as a reader would: in their order, in one namespace that starts empty."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(page):
    """Returns line, language and text of each block of a page; the line is that of its first fence."""
    text = (ROOT / page).read_text()
    return [(text.count("\n", 0, one.start()) + 1, one[2], dedent(one[3])) for one in _BLOCK.finditer(text)]


def pages():
    """Returns the pages with Python blocks, as paths in the repository."""
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    names = [path.relative_to(ROOT).as_posix() for path in found]
    return [name for name in names if any(language == "python" for _, language, _ in blocks(name))]


def run_page(page):
    """Returns what the blocks define.

    Raises `AssertionError` that names the page, the block and the line in which one fails.
    """
    names = {"__name__": "__main__"}
    for line, language, code in blocks(page):
        if language == "python":
            try:
                # after as many empty lines as there are on the page before it, so that every traceback shows the page
                exec(compile("\n" * line + code, str(ROOT / page), "exec"), names)
            except Exception as error:
                frames = traceback.extract_tb(error.__traceback__)
                inside = [frame.lineno for frame in frames if frame.filename == str(ROOT / page)]
                where = f"{page}, line {getattr(error, 'lineno', None) or inside[-1]}, in the block of line {line}"
                raise AssertionError(f"{where}: {type(error).__name__}: {error}") from error
    return names
