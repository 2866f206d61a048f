"""Names in docstrings, [`LaddTrainer`], as links to their entries in the reference."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import griffe

REFERENCE = Path(__file__).parents[1] / "api"
NAME = re.compile(r"\[`~?(?P<name>[\w.]+)`\](?![\[(])")
# The end of a line, and indentation, within names that share a description.
WITHIN_NAMES = re.compile(r"(?<=\w,)\n +(?=(?:\w+,\s+)*\w+: )")


@cache
def entries() -> dict[str, str]:
    """Returns the paths of the entries by the names that docstrings use, without the module."""
    paths = [path for page in REFERENCE.glob("*.md") for path in re.findall(r"^::: (\S+)", page.read_text(), re.M)]
    return {path.rsplit(".", 1)[-1]: path for path in paths}


def names_in_one_line(text: str) -> str:
    """Returns a docstring whose `Args:` have all names before a colon in its line, as griffe reads them."""
    before, arguments, rest = text.partition("\nArgs:\n")
    return before + arguments + WITHIN_NAMES.sub(" ", rest)


def linked(text: str) -> str:
    """Returns a docstring in which names with an entry are links, and others plain code."""

    def replaced(match: re.Match[str]) -> str:
        name = match["name"]
        entry = entries().get(name.split(".")[0])
        return f"[`{name}`][{entry}]" if entry else f"`{name}`"

    return NAME.sub(replaced, text)


class DocstringLinks(griffe.Extension):
    """Links the names of every docstring that griffe reads."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = linked(names_in_one_line(obj.docstring.value))
