"""Subcommand that serves a page to play with a model."""

from __future__ import annotations

from typing import Annotated

import typer

from .completion import included_names
from .jobs import job
from .texts import Cpu


def add_to(app: typer.Typer) -> None:
    """Adds the subcommand."""
    app.command()(demo)


def demo(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Folder or repository of a pipeline; the newest of texts in out/, or the included one.",
            autocompletion=included_names,
        ),
    ] = None,
    beside: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Another that writes at the same cost; its MDLM, if there is one.",
            autocompletion=included_names,
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of the machine; a free one from 7860 on by default.")
    ] = None,
    share: Annotated[
        bool, typer.Option("--share", help="Also serve a public address for a while, through gradio's servers.")
    ] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only tell the address.")] = False,
    cpu: Cpu = False,
) -> None:
    """Serve a page to play with a model: watch it write, exchange latents, fill gaps."""
    job("demo.demo")(**locals())
