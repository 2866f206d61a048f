"""Command lines of the jobs: no abbreviated flags, and one sentence with exit code 2 for an error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import zip_longest
from json import JSONDecodeError
from pathlib import Path
from typing import Any, NoReturn

from huggingface_hub.errors import HfHubHTTPError
from transformers import HfArgumentParser

from ..utils.number_ranges import NumberRange
from ..utils.own_command import is_running, leave_refusal, program
from ..utils.wrong_objects import described

# Errors of the Hub's client, those of a connection included, which are no `OSError` (as of huggingface_hub 2.4.0)
_OF_THE_HUB: type[Exception] = next(one for one in HfHubHTTPError.__mro__ if one.__name__ == "HTTPError")


class Refusal(SystemExit):
    """Ends a script with one sentence that names the error and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 2


def refuse(message: object) -> NoReturn:
    """Ends the script with a sentence, on one line of standard error."""
    said = " ".join(str(message).split())
    line = f"{program()}: error: {said}"
    if not leave_refusal(line):
        print(line, file=sys.stderr)
    raise Refusal(said)


@contextmanager
def refusing(*kinds: type[Exception]) -> Iterator[None]:
    """Context in which a `ValueError`, an `OSError`, one of the Hub or of `kinds` is the user's, and becomes a
    refusal."""
    accepted: tuple[type[Exception], ...] = (ValueError, OSError, *kinds)
    try:
        yield
    except accepted as error:
        raise _refused(error) from error
    except _OF_THE_HUB as error:
        told = (
            f"The Hub cannot be reached, or does not answer as it should ({error}): look at the network, and try again."
        )
        raise _refused(ConnectionError(told)) from error


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Context in which errors name what was to be loaded, as errors of a connection do not."""
    try:
        yield
    except (ValueError, OSError, _OF_THE_HUB) as error:
        raise ValueError(f"{what} cannot be loaded: {error}") from error


def _refused(error: Exception) -> Refusal:
    try:
        refuse(f"{error.doc!r} is not JSON: {error}" if isinstance(error, JSONDecodeError) else error)
    except Refusal as refusal:
        return refusal


def check_flags(arguments: Any, ranges: Mapping[str, NumberRange], dashes: bool = False) -> None:
    """Refuses the first flag whose value, if any, is outside of its range; with `dashes` flags are spelt with them."""
    for name, allowed in ranges.items():
        if (value := getattr(arguments, name)) is not None and value not in allowed:
            flag = name.replace("_", "-") if dashes else name
            refuse(f"--{flag} is {described(value)}; give {allowed.accepted}.")


def check_output_file(flag: str, path: str) -> None:
    """Refuses an output file that cannot be written: its path is a folder, or its folder does not exist."""
    if not path:
        refuse(f"{flag} is empty; name a file.")
    if Path(path).is_dir():
        refuse(f"{flag} {path} is a folder, not a file to write: name a file.")
    if not Path(path).resolve().parent.is_dir():
        refuse(f"{flag} {path} is in no folder that there is; make it first.")


def check_output_folder(flag: str, path: str | Path) -> None:
    """Refuses an output folder that cannot be made, because it or one of its parents is a file."""
    if path == "":
        refuse(f"{flag} is empty; name a folder.")
    for place in (Path(path), *Path(path).parents):
        if place.is_file():
            inside = "" if place == Path(path) else f" is in {place}, which"
            refuse(f"{flag} {path}{inside} is a file, not a folder to save in: name another folder.")


def named(argv: list[str], flag: str) -> list[str]:
    """Returns a command line in which a first word without a flag is the value of `flag`."""
    return [flag, *argv] if argv and not argv[0].startswith("-") else argv


def flag_values(flags: Sequence[str]) -> dict[str, str]:
    """Returns the last value of each flag, by the name of its field."""
    values = {}
    for flag, after in zip_longest(flags, flags[1:], fillvalue=""):
        if flag.startswith("--"):
            name, joined, value = flag[2:].partition("=")
            values[name.replace("-", "_")] = value if joined else after
    return values


class CommandLine(HfArgumentParser):
    """A parser of dataclasses, if any, and of added arguments.

    Unlike argparse it accepts no abbreviated flags, and prints no usage before an error. `launched` marks the jobs of
    which `ladd` starts several processes.
    """

    def __init__(self, kinds: Any = (), launched: bool = False, **options: Any) -> None:
        if launched and is_running():
            options = {"epilog": "With --processes N `ladd` starts N processes, else one for each GPU.", **options}
        fixed = {"allow_abbrev": False, "prog": program(), "usage": "%(prog)s [--FLAG VALUE ...]"}
        super().__init__(kinds, **{**fixed, **options})
        for (
            action
        ) in self._actions:  # transformers gives the flags that switch something off the help of their opposite
            if action.const is False and action.help:
                action.help = f"The opposite of --{action.dest}."

    @property
    def flags(self) -> list[str]:
        """All flags, in each of their spellings."""
        return [flag for action in self._actions for flag in action.option_strings]

    def error(self, message: str) -> NoReturn:
        """Exits with the message, without the usage."""
        refuse(message)

    def parse(self, argv: list[str]) -> tuple[Any, ...]:
        """Returns an object of each dataclass. Exits with a sentence for unknown flags and wrong values."""
        with refusing(ImportError):  # a flag for a library that is not installed
            *parsed, unknown = self.parse_args_into_dataclasses(argv, return_remaining_strings=True)
        if unknown:
            flags = [one.split("=")[0] for one in unknown if one.startswith("-")]
            close = get_close_matches(flags[0], self.flags, 1) if flags else []
            hint = f"did you mean {close[0]}? " if close else ""
            self.error(f"{' '.join(unknown)} is not understood; {hint}--help lists all flags.")
        return tuple(parsed)
