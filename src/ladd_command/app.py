"""The application: all subcommands, and one sentence for what it cannot do."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from . import facts, page, runs, texts
from .launching import FOLDER, INTERRUPTED

NAME = "ladd"


class OneSentence(TyperGroup):
    """Subcommands whose errors are one sentence on standard error, without the usage."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Runs the subcommand. Exits with its code, 2 for an error of the user's, and 130 when it is interrupted."""
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except typer.TyperException as error:
            context = getattr(error, "ctx", None)
            command = NAME if context is None else context.command_path
            said = " ".join(error.format_message().split())
            said = f"{said} See" if said.endswith("?") else f"{said.rstrip('.')}; see"
            print(f"{command}: error: {said} {command} --help.", file=sys.stderr)
            sys.exit(error.exit_code)
        except typer.Abort:
            code = INTERRUPTED
        code = code if isinstance(code, int) else 0
        if code == INTERRUPTED and FOLDER not in os.environ:
            print(f"{NAME}: stopped.", file=sys.stderr)
        if options.get("standalone_mode", True):
            sys.exit(code)
        return code


app = typer.Typer(
    name=NAME,
    cls=OneSentence,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ladd_hf {version('ladd_hf')}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Tell the version and exit.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Latent-Augmented Discrete Diffusion: trains models of text, writes with them, and measures them.

    MODEL is a folder, a repository of the Hub or an included model, python-docs-di or python-docs-mdlm, and always
    comes first.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for part in (runs, texts, page, facts):
    part.add_to(app)


def main() -> None:
    """Runs the command, under its own name however it was started."""
    sys.argv[0] = NAME
    app(prog_name=NAME)
