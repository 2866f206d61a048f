"""Local paths: their public names, and checks for files in place of folders."""

from __future__ import annotations

import os
from pathlib import Path


def public_name(name: str) -> str:
    """Returns a name fit for publication: only the last part of a local path, all of anything else, such as a
    repository's name."""
    looks_local = name.startswith((".", "~", "/", "\\")) or name[1:3] in (":\\", ":/") or name.count("/") > 1
    is_address = "://" in name and not name.startswith((".", "~", "/", "\\"))
    if is_address or not (looks_local or os.path.exists(name)):
        return name
    return Path(name.replace("\\", "/")).expanduser().resolve().name or "model"


def public_model_name(name: str) -> str:
    """Returns the public name of a model's source: of a pipeline's folder that of the pipeline, and of the Hub's cache
    the repository's."""
    path = Path(name.replace("\\", "/"))
    if path.name == "model" and (path.parent / "model_index.json").is_file():
        path = path.parent
        name = str(path)
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        return path.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
    return public_name(name)


def refuse_file(folder: str | os.PathLike) -> None:
    """Raises `ValueError` for an output folder that is a file."""
    if os.path.isfile(folder):
        raise ValueError(f"{os.fspath(folder)} is a file, not a folder to save in: name another folder.")


def public_argument(argument: str) -> str:
    """Returns a command-line argument, or the path that it sets (`--flag=PATH`), relative to the working directory if
    it is an absolute path below it, else reduced to the path's name."""
    flag, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    value = value if equals or not flag else flag
    if not os.path.isabs(value):
        return argument
    relative = os.path.relpath(value)
    shown = Path(value).name or "." if relative.startswith("..") else relative
    return f"{flag}={shown}" if equals else shown
