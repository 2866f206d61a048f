"""Subcommands that write and read texts with a model."""

from __future__ import annotations

from typing import Annotated

import typer

from .completion import beginning_with, included_names
from .jobs import job

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Folder or repository of a pipeline, or an included one: python-docs-di, python-docs-mdlm.",
        show_default=False,
        autocompletion=included_names,
    ),
]
Number = Annotated[int, typer.Option("-n", "--num-samples", help="Texts to write.")]
Steps = Annotated[
    int | None,
    typer.Option("--steps", "--num-steps", help="Evaluations of the network, the latents' included; 32 by default."),
]
Temperature = Annotated[float | None, typer.Option(help="Of the tokens; 0 is greedy. The schedule's own by default.")]
LatentTemperature = Annotated[
    float | None, typer.Option(help="Of codes or anchors: likelier texts below 1. The schedule's own by default.")
]
TopP = Annotated[float, typer.Option(help="Nucleus of the tokens.")]
TopK = Annotated[int | None, typer.Option(help="Likeliest tokens to draw from; all by default.")]
Length = Annotated[int | None, typer.Option(help="Tokens of a text; as in training by default.")]
Guidance = Annotated[
    float, typer.Option(help="Scale of the guidance on the latents, for models trained with dropped ones; 1 is none.")
]
Seed = Annotated[int | None, typer.Option(help="The same one gives the same texts; drawn, and told, by default.")]
Schedule = Annotated[
    str | None,
    typer.Option(
        help="'joint', 'sequential' or corners such as '[[1, 1], [1, 0.3], [0, 0]]'; the saved by default.",
        autocompletion=beginning_with("joint", "sequential"),
    ),
]
TokenWaiting = Annotated[
    str | None,
    typer.Option(
        help="Tokens wait for their latents: 'none', 'while_written' or 'until_known'; as saved by default.",
        autocompletion=beginning_with("none", "while_written", "until_known"),
    ),
]
Watch = Annotated[bool, typer.Option("--watch", help="Show the way of the first text from masks to words.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")]
Cpu = Annotated[bool, typer.Option("--cpu", help="Run on the CPU, even with an accelerator.")]
Dtype = Annotated[
    str,
    typer.Option(
        help="'float32', 'bfloat16' or 'float16'.", autocompletion=beginning_with("float32", "bfloat16", "float16")
    ),
]


def add_to(app: typer.Typer) -> None:
    """Adds the subcommands."""
    for command in (generate, infill, encode, vary, mix):
        app.command(context_settings={"token_normalize_func": _with_dashes})(command)


def _with_dashes(flag: str) -> str:
    """Returns a flag as it is declared here; those of trainings, which have underscores, are understood too."""
    return flag.replace("_", "-")


def generate(
    model: Model,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Beginnings of texts.")] = None,
    num_samples: Number = 1,
    steps: Steps = None,
    temperature: Temperature = None,
    latent_temperature: LatentTemperature = None,
    top_p: TopP = 1.0,
    top_k: TopK = None,
    length: Length = None,
    guidance: Guidance = 1.0,
    seed: Seed = None,
    schedule: Schedule = None,
    token_waiting: TokenWaiting = None,
    watch: Watch = False,
    json: Json = False,
    cpu: Cpu = False,
    dtype: Dtype = "float32",
) -> None:
    """Write texts, from nothing or after beginnings.

    A beginning may hold mask tokens, which are written, too.
    """
    job("texts.generate")(**locals())


def infill(
    model: Model,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="With a mask token for each token to write.")],
    num_samples: Number = 1,
    steps: Steps = None,
    temperature: Temperature = None,
    latent_temperature: LatentTemperature = None,
    top_p: TopP = 1.0,
    top_k: TopK = None,
    seed: Seed = None,
    schedule: Schedule = None,
    token_waiting: TokenWaiting = None,
    watch: Watch = False,
    json: Json = False,
    cpu: Cpu = False,
    dtype: Dtype = "float32",
) -> None:
    """Write the mask tokens of a text, and nothing else."""
    job("texts.infill")(**locals())


def encode(
    model: Model,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="Texts.")],
    json: Json = False,
    cpu: Cpu = False,
    dtype: Dtype = "float32",
) -> None:
    """Show the latents of texts: codes, or vectors."""
    job("latents.encode")(**locals())


def vary(
    model: Model,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="To vary.")],
    num_samples: Number = 1,
    strength: Annotated[float, typer.Option(help="Noise on its latents: 0 keeps them, 1 ignores them.")] = 0.5,
    steps: Steps = None,
    temperature: Temperature = None,
    latent_temperature: LatentTemperature = None,
    top_p: TopP = 1.0,
    top_k: TopK = None,
    length: Length = None,
    seed: Seed = None,
    schedule: Schedule = None,
    token_waiting: TokenWaiting = None,
    watch: Watch = False,
    json: Json = False,
    cpu: Cpu = False,
    dtype: Dtype = "float32",
) -> None:
    """Write variations of a text from its latents."""
    job("texts.vary")(**locals())


def mix(
    model: Model,
    first: Annotated[str, typer.Argument(metavar="FIRST", help="From its latents the first text is written.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="From its latents the last one.")],
    num_samples: Number = 5,
    steps: Steps = None,
    temperature: Temperature = None,
    top_p: TopP = 1.0,
    top_k: TopK = None,
    length: Length = None,
    seed: Seed = None,
    schedule: Schedule = None,
    token_waiting: TokenWaiting = None,
    watch: Watch = False,
    json: Json = False,
    cpu: Cpu = False,
    dtype: Dtype = "float32",
) -> None:
    """Write texts from latents between those of two texts."""
    job("texts.mix")(**locals())
