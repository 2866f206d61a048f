"""Command line of `evaluate_ladd.py`: flags, their checks, and the settings that they make."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import yaml
from command_line import CommandLine, check_flags, check_output_file, check_output_folder, refuse, refusing

from ladd_hf.diffusion.nelbo import path_of_bound
from ladd_hf.evaluation import EvaluationSettings
from ladd_hf.metrics import MODEL_MEASURES, model_measures
from ladd_hf.tasks.judges import JUDGES, JudgeSpec
from ladd_hf.utils.number_ranges import COUNT, COUNT_OR_ZERO, SEED
from ladd_hf.utils.registry import Registry, Spec

# Ranges of the numeric flags.
RANGES = {
    **dict.fromkeys(("length", "num_sequences", "samples", "batch_size"), COUNT),
    **dict.fromkeys(("num_samples", "num_texts", "num_proposals", "timing_rounds"), COUNT_OR_ZERO),
    "seed": SEED,
}
# Flags that only the bound reads, and those that only samples read; the others are read by both.
OF_THE_BOUND = ("split", "length", "packing", "separator", "special_tokens", "num_sequences", "paths", "json")
OF_SAMPLES = (
    *("beside", "schedules", "temperatures", "judges", "num_samples", "num_texts", "num_proposals", "timing_rounds"),
    "results",
)


@dataclass
class EvaluationArguments:
    """Settings of an evaluation."""

    model: str = field(metadata={"help": "Folder or repository; may be given as the first argument."})
    data: str = field(metadata={"help": "A known corpus, 'user/name' on the Hub, or local files."})
    split: str | None = field(
        default=None,
        metadata={"help": "Part of the corpus; by default 'test', or all of your own file."},
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
    num_sequences: int | None = field(
        default=None, metadata={"help": "Blocks, spread over the split; all if not given."}
    )
    paths: list[str] = field(
        default_factory=lambda: ["joint", "sequential"],
        metadata={"help": "Paths of the bound, by name or by corners, such as '[[1, 1], [1, 0.3], [0, 0]]'."},
    )
    samples: int = field(default=8, metadata={"help": "Points of the path at which each block is evaluated."})
    batch_size: int = field(default=16, metadata={"help": "Blocks evaluated at once by each process."})
    seed: int = 0
    bf16: bool = field(default=False, metadata={"help": "Evaluate in bfloat16."})
    cpu: bool = field(default=False, metadata={"help": "Run on the CPU, even with an accelerator."})
    json: str | None = field(default=None, metadata={"help": "File for the results as JSON."})

    budgets: list[int] = field(
        default_factory=list, metadata={"help": "Samples: numbers of evaluations; none: the bound alone."}
    )
    beside: list[str] = field(
        default_factory=list, metadata={"help": "Samples: further models, evaluated alike; the first is the baseline."}
    )
    schedules: list[str] = field(
        default_factory=lambda: ["saved"],
        metadata={"help": "Samples: 'saved', 'tuned', and paths by name or by corners."},
    )
    temperatures: list[float] = field(
        default_factory=lambda: [1.0], metadata={"help": "Samples: temperatures of the tokens."}
    )
    judges: list[str] = field(
        default_factory=list,
        metadata={"help": "Samples: judges by name, or with options, such as '{name: memorization, window: 12}'."},
    )
    measures: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Measures of the model on held-out texts: 'code_usage', 'latent_usefulness', or with options, such "
            "as '{name: latent_usefulness, token_times: [0.5, 1]}'; with --budgets on those of --num_texts."
        },
    )
    num_samples: int = field(default=300, metadata={"help": "Samples: as many for each run; 0: cost and bounds."})
    num_texts: int = field(default=0, metadata={"help": "Samples: held-out texts for the bounds of the same runs."})
    num_proposals: int = field(default=0, metadata={"help": "Samples: proposals of the marginalised bound; 0: none."})
    timing_rounds: int = field(default=0, metadata={"help": "Samples: rounds in which all runs are timed; 0: none."})
    results: str = field(default="out/evaluation", metadata={"help": "Samples: folder for JSON, table and plot."})


def parse_arguments(argv: list[str], description: str = "") -> EvaluationArguments:
    """Parses the command line. Exits with a message for invalid settings, before anything is loaded."""
    parser = CommandLine(EvaluationArguments, description=description)
    named = ["--model", *argv] if argv and not argv[0].startswith("-") else argv
    (arguments,) = parser.parse(named)
    check_flags(arguments, RANGES)
    if arguments.packing not in (None, "pack", "wrap", "pad"):
        refuse(f"--packing {arguments.packing} is unknown; give 'pack', 'wrap' or 'pad'.")
    try:
        for path in arguments.paths:
            path_of_bound(path)
    except ValueError as error:
        refuse(f"--paths: {error}")
    if arguments.json is not None:
        check_output_file("--json", arguments.json)
    refuse_unread(arguments)
    if arguments.budgets:
        check_output_folder("--results", arguments.results)
        with refusing():
            settings_of(arguments)
        judges_of(arguments)
    measures_of(arguments)
    return arguments


def refuse_unread(arguments: EvaluationArguments) -> None:
    """Refuses flags that the chosen measurement does not read."""
    default = EvaluationArguments(arguments.model, arguments.data)
    for name in OF_THE_BOUND if arguments.budgets else OF_SAMPLES:
        if getattr(arguments, name) != getattr(default, name):
            if arguments.budgets:
                refuse(f"--{name} is not read with --budgets, where samples are measured: leave one of the two out.")
            refuse(f"--{name} is not read without --budgets, where the bound is computed: give --budgets as well.")


def settings_of(arguments: EvaluationArguments) -> EvaluationSettings:
    """Returns the settings of the samples' evaluation. Raises `ValueError` for invalid ones."""
    same = (
        *("budgets", "temperatures", "num_samples", "batch_size", "num_texts", "num_proposals", "timing_rounds"),
        "seed",
    )
    schedules = tuple(json.loads(one) if one.startswith("[") else one for one in arguments.schedules)
    return EvaluationSettings(
        **{name: getattr(arguments, name) for name in same},
        schedules=schedules,
        bound_samples=arguments.samples,
        measures=measures_of(arguments),
    )


def judges_of(arguments: EvaluationArguments) -> list[JudgeSpec]:
    """Returns the judges. Refuses what is neither the name of one nor a mapping with it."""
    return _choices("--judges", arguments.judges, JUDGES)


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
            choice = yaml.safe_load(one)
            registry[registry.parsed(choice)[0]]  # raises for an unknown name
        except (yaml.YAMLError, ValueError) as error:
            refuse(f"{flag} {one}: {error}")
        choices.append(choice)
    return choices
