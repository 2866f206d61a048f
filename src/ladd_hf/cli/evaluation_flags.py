"""Command line of `evaluate_ladd.py`: flags, their checks, and the settings that they make."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ..evaluation import EvaluationSettings
from ..metrics import MODEL_MEASURES, model_measures
from ..tasks.judges import JUDGES, JudgeSpec
from ..utils.number_ranges import COUNT, COUNT_OR_ZERO, POSITIVE, SEED
from ..utils.registry import Registry, Spec
from .command_line import (
    CommandLine,
    check_flags,
    check_output_file,
    check_output_folder,
    named,
    refuse,
    refusing,
)
from .recipe_files import yaml_of

# Ranges of the numeric flags.
RANGES = {
    **dict.fromkeys(("length", "samples", "batch_size", "judge_characters"), COUNT),
    **dict.fromkeys(("num_sequences", "num_samples", "num_texts", "num_proposals", "timing_rounds"), COUNT_OR_ZERO),
    "proposal_width": POSITIVE,
    "seed": SEED,
}
TO_OUTPUT = "-"  # a file name that stands for standard output
# Flags of the texts, which `task_for` takes, and of the settings, under their own names.
OF_TEXTS = (
    *("split", "data_config", "text_column", "length", "packing", "separator", "special_tokens"),
    "judge_characters",
)
OF_SETTINGS = (
    *("budgets", "temperatures", "num_samples", "batch_size", "num_texts", "num_proposals", "proposal_width"),
    *("num_sequences", "timing_rounds", "seed"),
)


@dataclass
class EvaluationArguments:
    """Settings of an evaluation."""

    model: str = field(metadata={"help": "Folder or repository; may be given as the first argument."})
    data: str = field(metadata={"help": "A known corpus, 'user/name' on the Hub, or local files."})
    split: str | None = field(
        default=None,
        metadata={
            "help": "Part of the corpus that is held out; by default 'test', else 'validation', or, without samples, "
            "all of your own file."
        },
    )
    data_config: str | None = field(
        default=None, metadata={"help": "Configuration of a data set of the Hub, if it has several."}
    )
    text_column: str = field(default="text", metadata={"help": "The column with the texts, of files and the Hub."})
    length: int | None = field(default=None, metadata={"help": "Tokens of a block; the model's longest if not given."})
    packing: str | None = field(
        default=None,
        metadata={"help": "'pack', 'wrap' or 'pad'; as in the model's training if not given."},
    )
    separator: str | None = field(
        default=None,
        metadata={"help": "A text between documents; if not given, EOS or SEP, else a space, and nothing in text8."},
    )
    special_tokens: bool = field(default=True, metadata={"help": "Add BOS and EOS to documents or blocks."})
    paths: list[str] = field(
        default_factory=lambda: ["joint", "sequential"],
        metadata={"help": "Paths of the bound, by name or by corners, such as '[[1, 1], [1, 0.3], [0, 0]]'."},
    )
    num_sequences: int | None = field(
        default=None,
        metadata={"help": "Blocks for these bounds, spread over the split; all if not given, 0: no bounds."},
    )
    measures: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Measures of the model on the blocks of these bounds: 'code_usage', 'latent_usefulness', or with "
            "options, such as '{name: latent_usefulness, token_times: [0.5, 1]}'."
        },
    )
    samples: int = field(default=8, metadata={"help": "Points of a path or run at which each block is evaluated."})
    budgets: list[int] = field(
        default_factory=lambda: [2, 4, 8, 16, 32], metadata={"help": "Numbers of evaluations of a sample."}
    )
    beside: list[str] = field(
        default_factory=list, metadata={"help": "Further models, evaluated alike, which come first in tables."}
    )
    baseline: str | None = field(
        default=None,
        metadata={
            "help": "The curve that others are compared with, a model's name in the tables and one of the schedules, "
            "such as 'mdlm tuned'; if not given, the first model and schedule."
        },
    )
    schedules: list[str] = field(
        default_factory=lambda: ["saved"],
        metadata={
            "help": "Schedules of samples: 'saved', 'tuned', and paths by name or by corners; with options of the "
            "scheduler as '{path: joint, token_waiting: until_known}'."
        },
    )
    temperatures: list[float] = field(
        default_factory=lambda: [1.0], metadata={"help": "Temperatures of the tokens, times those of the schedules."}
    )
    judges: list[str] = field(
        default_factory=list,
        metadata={"help": "Judges by name, or with options, such as '{name: memorization, window: 12}'."},
    )
    judge_characters: int | None = field(
        default=None,
        metadata={"help": "Characters of the training texts that judges read; 20 million if not given."},
    )
    num_samples: int = field(default=300, metadata={"help": "Samples, as many for each run; 0: cost and bounds alone."})
    num_texts: int = field(default=0, metadata={"help": "Held-out texts for the bounds of the same runs; 0: none."})
    num_proposals: int = field(
        default=0, metadata={"help": "Proposals of the marginalised bound of the runs; 0: without it."}
    )
    proposal_width: float | None = field(
        default=None, metadata={"help": "Spread of the proposals; by default several together."}
    )
    timing_rounds: int = field(default=0, metadata={"help": "Rounds in which all runs are timed in turn; 0: none."})
    batch_size: int = field(default=16, metadata={"help": "Samples and texts at once in each process."})
    seed: int = 0
    bf16: bool = field(default=False, metadata={"help": "Evaluate in bfloat16."})
    cpu: bool = field(default=False, metadata={"help": "Run on the CPU, even with an accelerator."})
    results: str = field(default="out/evaluation", metadata={"help": "Folder for JSON, table and plot."})
    json: str | None = field(
        default=None,
        metadata={
            "help": "A single file for the results of all models as JSON; without a name, or with '-', they are "
            "printed, and nothing else.",
            "nargs": "?",
            "const": TO_OUTPUT,
        },
    )


def parser(description: str = "") -> CommandLine:
    """Returns the parser of the command line."""
    return CommandLine(
        EvaluationArguments,
        launched=True,
        usage="%(prog)s MODEL --data CORPUS [--FLAG VALUE ...]",
        description=description,
    )


def parse_arguments(argv: list[str], description: str = "") -> EvaluationArguments:
    """Parses the command line. Exits with a message for invalid settings, before anything is loaded."""
    (arguments,) = parser(description).parse(named(argv, "--model"))
    check_flags(arguments, RANGES)
    if arguments.packing not in (None, "pack", "wrap", "pad"):
        refuse(f"--packing {arguments.packing} is unknown; give 'pack', 'wrap' or 'pad'.")
    if arguments.json not in (None, TO_OUTPUT):
        check_output_file("--json", arguments.json)
    check_output_folder("--results", arguments.results)
    with refusing():
        settings_of(arguments)
    judges_of(arguments)
    return arguments


def settings_of(arguments: EvaluationArguments) -> EvaluationSettings:
    """Returns the settings of the evaluation. Raises `ValueError` for invalid ones."""
    return EvaluationSettings(
        **{name: getattr(arguments, name) for name in OF_SETTINGS},
        schedules=tuple(map(_schedule, arguments.schedules)),
        paths=tuple(map(_path, arguments.paths)),
        bound_samples=arguments.samples,
        measures=measures_of(arguments),
    )


def texts_of(arguments: EvaluationArguments) -> dict[str, Any]:
    """Returns the options of the texts; of the sawtooth, which has none, only what is not as by default."""
    default = EvaluationArguments(arguments.model, arguments.data)
    found = {name: getattr(arguments, name) for name in OF_TEXTS}
    return {name: value for name, value in found.items() if value != getattr(default, name)}


def _path(given: str) -> Any:
    return json.loads(given) if given.startswith("[") else given


def _schedule(given: str) -> Any:
    return yaml_of(given) if given.startswith("{") else _path(given)


def judges_of(arguments: EvaluationArguments) -> list[JudgeSpec]:
    """Returns the judges. Refuses what is neither the name of one nor a mapping with it."""
    return [*_choices("--judges", arguments.judges, JUDGES)]


def measures_of(arguments: EvaluationArguments) -> list[Spec]:
    """Returns the measures of the model. Refuses what names none, and options that it does not take."""
    measures = _choices("--measures", arguments.measures, MODEL_MEASURES)
    try:
        model_measures(measures)
    except ValueError as error:
        refuse(f"--measures: {error}")
    return measures


def _choices(flag: str, given: list[str], registry: Registry[Any]) -> list[Spec]:
    """Returns choices by name, or as mappings in YAML. Refuses those that are not registered."""
    choices = []
    for one in given:
        try:
            choice = yaml_of(one)
            registry[registry.parsed(choice)[0]]  # raises for an unknown name
        except ValueError as error:
            refuse(f"{flag} {one}: {error}")
        choices.append(choice)
    return choices
