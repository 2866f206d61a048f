"""The command `ladd`: the name of the running one, and how it tells processes that they are its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

NAME, MODULE = "ladd", "ladd_command"
# Environment variable of processes that `ladd` started: the folder in which they leave what it is to say.
FOLDER = "LADD_LAUNCH"
_REFUSAL = "refusal.txt"
_OF_LAUNCHERS = ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID")


def is_running() -> bool:
    """True if this process is the command `ladd`, which names itself so."""
    return sys.argv[0] == NAME


def is_alone() -> bool:
    """True if this process is the command `ladd` as it was typed, which no launcher started."""
    return is_running() and not any(name in os.environ for name in _OF_LAUNCHERS)


def program() -> str:
    """Returns the name of what is running: `ladd` with its subcommand, or a script's file."""
    return " ".join(sys.argv[:2]) if is_running() else Path(sys.argv[0]).name


def launched() -> bool:
    """True if the command `ladd` started this process, perhaps among others."""
    return FOLDER in os.environ


def named(setting: str) -> str:
    """Returns a setting as it is given: a flag to the command, and else a field."""
    return f"--{setting}" if is_running() or launched() else f"`{setting}`"


def leave_refusal(sentence: str) -> bool:
    """Leaves a sentence with the command that started this process, which says it once for all of them; false if there
    is none."""
    if not launched():
        return False
    folder = Path(os.environ[FOLDER])
    mine = folder / f"{os.getpid()}.txt"
    mine.write_text(sentence, encoding="utf-8")
    mine.replace(folder / _REFUSAL)
    return True
