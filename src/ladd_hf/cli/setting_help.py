"""Help of the flags for a model's settings: the first sentence of each one's entry in the docstring of `LaddConfig`."""

from __future__ import annotations

import inspect
import re

from ..models.configuration_ladd import LaddConfig

_ENTRY = re.compile(r"(?P<names>\w.*?\)):\s+(?P<about>.*)", re.DOTALL)


def setting_help() -> dict[str, str]:
    """Returns a sentence for each documented setting."""
    arguments = inspect.getdoc(LaddConfig).partition("Args:\n")[2].partition("\n\n")[0]  # type: ignore[union-attr]
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?= {4}\w)", arguments):
        if match := _ENTRY.match(entry.strip()):
            about = " ".join(match["about"].split())
            sentence = re.sub(r"\[`~?([\w.]+)`\]", r"`\1`", re.split(r"(?<=\.) (?=[A-Z`])", about)[0])
            names = re.findall(r"\w+", re.sub(r"\(.*?\)", "", match["names"], flags=re.DOTALL))
            found |= dict.fromkeys(names, (sentence[0].upper() + sentence[1:]).replace("%", "%%"))
    return found
