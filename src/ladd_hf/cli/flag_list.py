"""Writes the flags of all jobs to the file that shell completion reads instead of loading a job.

Run `python -m ladd_hf.cli.flag_list` after adding or removing a flag.
"""

from __future__ import annotations

from pathlib import Path

from . import convert, distill, evaluation_flags, finetune, recipes, tune, write

FILE = Path(__file__).resolve().parents[2] / "ladd_command" / "flags.txt"
PARSERS = {
    "train": recipes.parser,
    "evaluate": evaluation_flags.parser,
    "tune": tune.parser,
    "finetune": finetune.parser,
    "distill": distill.parser,
    "write": write.parser,
    "convert": convert.parser,
}


def flag_list() -> str:
    """Returns the file's lines: a flag, and the subcommands that accept it. A flag that is also accepted with dashes is
    listed with underscores only."""
    takers: dict[str, list[str]] = {}
    for command, parser in PARSERS.items():
        known = {flag for flag in parser().flags if flag.startswith("--")}
        for flag in known:
            other = f"--{flag.removeprefix('--').replace('-', '_')}"
            if flag == other or other not in known:
                takers.setdefault(flag, []).append(command)
    return "".join(f"{flag} {' '.join(commands)}\n" for flag, commands in sorted(takers.items()))


if __name__ == "__main__":
    FILE.write_text(flag_list(), encoding="utf-8")
