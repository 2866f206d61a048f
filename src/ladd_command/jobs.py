"""The functions that do the work, loaded when they are called, and the error of what they cannot do."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer


class UsersError(typer.TyperException):
    """An error that the user can mend, of a subcommand."""

    exit_code = 2

    def __init__(self, message: str, context: typer.Context) -> None:
        super().__init__(message)
        self.ctx = context


def job(name: str) -> Any:
    """Returns a function of `ladd_hf.cli`, given as `module.function`."""
    module, _, function = name.rpartition(".")
    with _no_collection():
        return getattr(import_module(f"ladd_hf.cli.{module}"), function)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Context of imports, in which no garbage is looked for: modules are not garbage, and looking takes much of
    the time. What they made is not looked at later, either."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.freeze()
            gc.enable()
