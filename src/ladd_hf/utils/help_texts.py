"""Help texts of command lines, taken from docstrings of settings."""

from __future__ import annotations

import inspect
import re

_ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*)$")


def help_texts(kind: type) -> dict[str, str]:
    """Returns the descriptions in the section `Attributes` of a class's docstring; empty if Python was started without
    docstrings."""
    found: dict[str, str] = {}
    names: list[str] = []
    section = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")[2]
    for line in section.splitlines():
        if entry := _ENTRY.match(line):
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif line.startswith(" " * 8) and names:
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            break
    return {name: text.replace("%", "%%") for name, text in found.items()}
