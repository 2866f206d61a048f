"""Packages that only some functions need, imported when these are called."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def optional_package(module: str, package: str, extra: str, purpose: str) -> Any:
    """Imports a module of an optional package. Raises `ImportError`, which tells the command that installs it.

    Args:
        module: name to import.
        package: its name at the package index.
        extra: of ladd_hf, that contains it.
        purpose: of the package, as the subject of a sentence.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0]:  # it is there, and lacks a package of its own
            raise
        raise ImportError(f"{purpose} needs the package {package}: pip install 'ladd_hf[{extra}]'.") from error
