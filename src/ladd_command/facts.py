"""Subcommands that tell of models, recipes and the machine, and share models."""

from __future__ import annotations

from typing import Annotated

import typer

from .completion import recipe_names
from .jobs import job
from .texts import Json, Model


def add_to(app: typer.Typer) -> None:
    """Adds the subcommands."""
    for command in (info, push, recipes, env):
        app.command()(command)


def info(model: Model, json: Json = False) -> None:
    """Tell what a model is, how it was trained, and its scores."""
    job("info.info")(**locals())


def push(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder of a pipeline.")],
    repository: Annotated[str, typer.Argument(metavar="REPOSITORY", help="user/name; made if it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    json: Json = False,
) -> None:
    """Push a model with its card to the Hub."""
    job("push.push")(**locals())


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A recipe, or a file of one, to print.", autocompletion=recipe_names),
    ] = None,
    json: Json = False,
) -> None:
    """List the included recipes, or print one."""
    job("recipe_list.recipes")(**locals())


def env(json: Json = False) -> None:
    """Tell versions and devices, for a report of an error."""
    job("environment.env")(**locals())
