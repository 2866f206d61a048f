"""Paths of this machine: what others may read of them, the last part alone, and files in the place of folders."""

from __future__ import annotations

import os
from pathlib import Path


def public_name(name: str) -> str:
    """A name as it may be published: of a path of this machine the last part alone, of anything else, such as a
    repository's name, all of it."""
    looks_local = name.startswith((".", "~", "/", "\\")) or name[1:3] in (":\\", ":/") or name.count("/") > 1
    is_address = "://" in name and not name.startswith((".", "~", "/", "\\"))
    if is_address or not (looks_local or os.path.exists(name)):
        return name
    return Path(name.replace("\\", "/")).expanduser().resolve().name or "model"


def refuse_file(folder: str | os.PathLike) -> None:
    """Raises `ValueError` for a folder to save in that is a file, where nothing would be saved."""
    if os.path.isfile(folder):
        raise ValueError(f"{os.fspath(folder)} is a file, not a folder to save in: name another folder.")


def public_argument(argument: str) -> str:
    """An argument of a command line, or the path that it sets (`--flag=PATH`): from the working directory, if it is an
    absolute path to below it, else the path's name."""
    flag, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    value = value if equals or not flag else flag
    if not os.path.isabs(value):
        return argument
    relative = os.path.relpath(value)
    shown = Path(value).name or "." if relative.startswith("..") else relative
    return f"{flag}={shown}" if equals else shown
