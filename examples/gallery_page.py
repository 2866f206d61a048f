"""The page of `make_gallery.py`: pictures in sections, each with the command that made what it shows."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from textwrap import fill as wrap

fill = partial(wrap, width=120, break_on_hyphens=False, break_long_words=False)

Picture = tuple[str, str]  # file name and the sentence below it


@dataclass
class Section:
    """Pictures of one run or evaluation.

    Attributes:
        title: heading.
        command: that made the run or the evaluation, as its files hold it; `None` if they do not.
        pictures: in their order.
        said: sentence above the command.
    """

    title: str
    command: str | None
    pictures: list[Picture] = field(default_factory=list)
    said: str = "Made by"


def gallery_page(sections: Sequence[Section], command: str, pictures: str, page: str) -> str:
    """Formats the page.

    Args:
        sections: in their order.
        command: that draws the page.
        pictures: folder of the pictures.
        page: file of the page, to which links are relative.
    """
    folder = Path(os.path.relpath(pictures, Path(page).parent)).as_posix()
    lines = [
        "# Gallery",
        fill(
            "Every picture is drawn by one command from trained runs and evaluations, whose own commands stand above "
            "their pictures; its functions, in `ladd_hf.pictures` and `ladd_hf.evaluation`, take data and return "
            "matplotlib figures."
        ),
        _block(command),
    ]
    for section in sections:
        known = section.command and not section.command.startswith("(")  # from an interactive session
        unknown = "Made by a command that its files do not hold."
        made = [fill(section.said), _block(str(section.command))] if known else [unknown]
        lines += [f"## {section.title}", *made]
        lines += [f"![{file}]({folder}/{file})\n\n{fill(sentence)}" for file, sentence in section.pictures]
    return "\n\n".join(lines) + "\n"


def folded(command: str) -> str:
    """Returns a command of the shell in lines of at most 120 characters where its words allow it, broken before
    flags."""
    groups: list[str] = []  # of a flag and its values
    for word in map(shlex.quote, shlex.split(command)):
        if word.startswith("--") or not groups:
            groups.append(word)
        else:
            groups[-1] += f" {word}"
    lines = [groups[0]]
    for group in groups[1:]:
        if len(lines[-1]) + len(group) < 118:
            lines[-1] += f" {group}"
        else:
            lines.append(f"    {group}")
    return " \\\n".join(lines)


def public(path: str) -> str:
    """Returns a path as a page may show it: one of another place as in `out/`."""
    return f"out/{Path(path).resolve().name}" if Path(path).is_absolute() else path


def _block(command: str) -> str:
    return f"```bash\n{folded(command)}\n```"
