"""Converts a checkpoint of the LADD authors' research code (a Lightning .ckpt) to a model folder of ladd_hf.

    ladd convert last.ckpt my-model --latent_length 16 --max_position_embeddings 256
    ladd convert last.ckpt my-model --config settings.yaml --weights last

Settings of `LaddConfig` that the checkpoint does not contain are given as flags, or in the YAML file of `--config`;
flags override it. `ladd_hf/convert/lightning.py` documents the settings that are read from the checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_type_hints

import torch
import yaml
from huggingface_hub.errors import StrictDataclassError

from ..convert.lightning import convert_lightning
from ..models.configuration_ladd import LaddConfig
from .command_line import CommandLine, check_output_folder, refuse, refusing
from .output import nothing_else, say
from .recipe_files import read_recipe
from .setting_kinds import check_kinds

# The types of the settings in a YAML file.
KINDS = {"weights": Literal["averaged", "last"], "without_encoder": bool}
# its module imports torch only for type checkers, as of transformers 5.23.0
_HINTS = get_type_hints(LaddConfig, localns={"torch": torch})
KINDS |= {field.name: _HINTS[field.name] for field in fields(LaddConfig)}


def value(text: str) -> Any:
    """Parses a setting as YAML."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not YAML") from error


def parser() -> CommandLine:
    """Returns the parser of the command line."""
    parser = CommandLine(
        usage="%(prog)s CHECKPOINT OUTPUT [--FLAG VALUE ...]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", type=Path, help="The .ckpt file.")
    parser.add_argument("output", type=Path, help="The folder to save the model in; it must not hold one already.")
    parser.add_argument("--config", type=Path, help="A YAML file of settings.")
    parser.add_argument("--weights", choices=("averaged", "last"), help="EMA weights (default), or the last step's.")
    parser.add_argument("--without_encoder", action="store_true", default=None, help="Leave its encoder out.")
    parser.add_argument("--json", action="store_true", help="Print one JSON document, and nothing else.")
    settings = parser.add_argument_group("settings that the checkpoint does not contain")
    for field in fields(LaddConfig):
        settings.add_argument(f"--{field.name}", type=value, metavar="VALUE")
    return parser


def main(argv: list[str]) -> None:
    """Reads the command line, converts, and saves."""
    (namespace,) = parser().parse(argv)
    given = {name: one for name, one in vars(namespace).items() if one is not None}
    checkpoint, output, file = given.pop("checkpoint"), given.pop("output"), given.pop("config", None)
    as_json = given.pop("json")
    check_output_folder("output", output)
    if (output / "config.json").exists():
        refuse(f"{output} holds a model already: name another folder.")
    with refusing(StrictDataclassError), nothing_else(as_json):
        options = (read_recipe(file) if file else {}) | given
        if unknown := sorted(map(str, options.keys() - KINDS.keys())):
            refuse(f"{file} has unknown settings {unknown}; --help lists all that there are.")
        check_kinds(options, KINDS)
        model: Any = convert_lightning(checkpoint, **options)
        model.save_pretrained(output)
    size = sum(weight.numel() for weight in model.parameters())
    kind = model.config.latent_type
    document = {"checkpoint": str(checkpoint), "output": str(output), "latent_type": kind, "parameters": size}
    say(document, [f"Saved in {output}: latents {kind}, {size:,} parameters."], as_json)


if __name__ == "__main__":
    main(sys.argv[1:])
