"""Shell completion of the jobs' flags, and of the names of recipes and included pipelines, without loading either:
names are listed from their folders, flags from a file that `python -m ladd_hf.cli.flag_list` writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from typer.core import CompletionItem

_HERE = Path(__file__).resolve()
FLAGS = _HERE.with_name("flags.txt")  # on each line a flag, and the subcommands that take it
_PACKAGE = _HERE.parents[1] / "ladd_hf"


def recipe_names() -> list[str]:
    """Returns the names of the included recipes."""
    return sorted(path.stem for path in _PACKAGE.glob("recipes/*.yaml"))


def included_names() -> list[str]:
    """Returns the names of the included pipelines."""
    return sorted(path.parent.name for path in _PACKAGE.glob("included/*/model_index.json"))


def no_names() -> list[str]:
    """Returns nothing: completion of a subcommand that takes files only."""
    return []


def beginning_with(*words: str) -> Callable[[str], list[str]]:
    """Returns what completes one of these words."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


def flags_of(command: str) -> list[str]:
    """Returns the flags of a job."""
    lines = [line.split() for line in FLAGS.read_text(encoding="utf-8").splitlines()]
    return [flag for flag, *commands in lines if command in commands]


def completed(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Returns the words that start with `incomplete`, as completion items."""
    return [CompletionItem(word) for word in words if word.startswith(incomplete)]
