"""Subcommands that train, measure, and write by the thousand: their flags are those of the jobs, passed on as given."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import CompletionItem, TyperCommand

from .completion import completed, flags_of, included_names, no_names, recipe_names
from .jobs import UsersError, job
from .launching import inside_launch, launch, launches

OWN_TEXTS = "own-texts"  # the recipe of texts that are given without one
_PASSED_ON = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],  # the job has help of its own
}
Processes = Annotated[int | None, typer.Option("--processes", min=1)]


@dataclass(frozen=True)
class Run:
    """A job with a parser of its own.

    Attributes:
        module: of `ladd_hf.cli`, whose `main` takes the flags.
        about: a sentence.
        usage: what is to be given, for the sentence that says that it is missing.
        flag: of the model, which may be given as the first word.
        launched: on several processes, if asked for or set up so.
        names: of what the first word may name.
        named: further flags that take such a name.
    """

    module: str
    about: str
    usage: str = ""
    flag: str = ""
    launched: bool = False
    names: Callable[[], list[str]] = included_names
    named: tuple[str, ...] = ()


RUNS = {
    "train": Run(
        "train",
        "Train on a recipe, or on your own texts (--data my.txt).",
        launched=True,
        names=recipe_names,
        named=("--config",),
    ),
    "evaluate": Run(
        "evaluate",
        "Measure a model's bounds, and its samples.",
        "MODEL --data CORPUS",
        "--model",
        launched=True,
        named=("--beside",),
    ),
    "tune": Run("tune", "Find the best schedule for numbers of evaluations.", "MODEL --data CORPUS", "--model"),
    "finetune": Run(
        "finetune",
        "Train an adapter, or all weights, on other texts.",
        "MODEL --train_file TEXTS",
        "--pipeline",
        launched=True,
    ),
    "distill": Run(
        "distill",
        "Teach continuous latents to be drawn in a few evaluations.",
        "MODEL --data CORPUS",
        "--pipeline",
        launched=True,
    ),
    "write": Run(
        "write",
        "Write many samples to a file.",
        "MODEL --num_samples N",
        "--pipeline",
        launched=True,
    ),
    "convert": Run("convert", "Convert a checkpoint of the authors' code.", "CHECKPOINT OUTPUT", names=no_names),
}


class PassedOn(TyperCommand):
    """A subcommand whose words a shell completes as its job reads them."""

    def shell_complete(self, ctx: Any, incomplete: str) -> list[CompletionItem]:
        """Returns what the word may become: a flag, or a name where one may stand."""
        name = str(self.name)
        run, words = RUNS[name], list[str]()
        if incomplete.startswith("-"):
            words = flags_of(name)
        elif not ctx.args or ctx.args[-1] in (run.flag, *run.named):
            words = run.names()
        return [*super().shell_complete(ctx, incomplete), *completed(words, incomplete)]


def add_to(app: typer.Typer) -> None:
    """Adds the subcommands."""
    for name, run in RUNS.items():
        add = app.command(name, cls=PassedOn, help=run.about, context_settings=_PASSED_ON, add_help_option=False)
        add(_command(name, run))


def _command(name: str, run: Run) -> Callable[..., None]:
    def start(context: typer.Context, processes: Processes = None) -> None:
        given = context.args
        if name == "train":
            given = with_recipe(given)
        elif not {"-h", "--help"} & set(given):
            _check_first(context, run, given)
        if run.launched and not inside_launch() and launches(processes, given):
            raise typer.Exit(launch(sys.argv[1:], processes))
        job(f"{run.module}.main")(given)

    def start_alone(context: typer.Context) -> None:
        start(context)

    return start if run.launched else start_alone


def with_recipe(given: list[str]) -> list[str]:
    """Returns the flags of a training with the recipe for own texts, if these are given without any recipe."""
    words = [one.partition("=")[0] for one in given]
    named = bool(given) and not given[0].startswith("-")
    if named or "--config" in words or "--data" not in words:
        return given
    value = given[words.index("--data")].partition("=")[2]
    value = value or next(iter(given[words.index("--data") + 1 :]), "")
    return given if value == "sawtooth" else [OWN_TEXTS, *given]


def _check_first(context: typer.Context, run: Run, given: list[str]) -> None:
    """Raises [`UsersError`] for a model that is missing, before anything is loaded."""
    first = given[0] if given else "-"
    if first.startswith("-") and run.flag not in [one.partition("=")[0] for one in given]:
        raise UsersError(f"{run.usage.split()[0]} is missing: {context.command_path} {run.usage}", context)
