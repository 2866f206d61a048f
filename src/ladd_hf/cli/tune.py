"""Tunes the schedule of a pipeline to numbers of evaluations, and saves the pipeline with it: `ladd tune`.

The model's losses are measured once on held-out texts, and the best run of each budget follows: docs/schedules.md. Of a
single file the share is read that a training holds out.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import try_to_load_from_cache

from ..data.corpora import is_own_file
from ..evaluation.tasks import task_for
from ..metrics import tune_schedule
from ..pipelines.pipeline_ladd import LaddPipeline
from ..schedulers.scheduling_tuned import LaddTunedScheduler
from ..training.cost_files import COST_FILE
from ..utils.number_ranges import SEED, whole
from .command_line import CommandLine, check_flags, check_output_folder, named, refuse, refusing
from .output import ShareDone, nothing_else, say
from .pipelines import default_device, loaded_pipeline, quiet_libraries

RANGES = {"num_texts": whole(2, "a whole number of at least 2"), "seed": SEED}
_BESIDE = ("README.md", COST_FILE)  # files that tell of the weights


@dataclass
class TuneArguments:
    """Settings of a tuning."""

    model: str = field(metadata={"help": "Folder or repository; may be given as the first argument."})
    data: str = field(metadata={"help": "A known corpus, 'user/name' on the Hub, or local files."})
    budgets: list[int] = field(
        default_factory=lambda: [2, 4, 8, 16, 32], metadata={"help": "Numbers of evaluations to solve for now."}
    )
    cost: str = field(
        default="evaluations",
        metadata={"help": "Unit of the budgets: 'evaluations', or 'flops' of that many of the tokens."},
    )
    output: str = field(default="out/tuned", metadata={"help": "Folder for the pipeline with its tuned schedule."})
    split: str | None = field(default=None, metadata={"help": "Part of the corpus that is held out, as in evaluate."})
    data_config: str | None = field(
        default=None, metadata={"help": "Configuration of a data set of the Hub, if it has several."}
    )
    text_column: str = field(default="text", metadata={"help": "The column with the texts, of files and the Hub."})
    num_texts: int = field(default=64, metadata={"help": "Held-out texts by which the losses are measured."})
    seed: int = 0
    json: bool = field(default=False, metadata={"help": "Print one JSON document, and nothing else."})
    cpu: bool = field(default=False, metadata={"help": "Run on the CPU, even with an accelerator."})


def parser() -> CommandLine:
    """Returns the parser of the command line."""
    return CommandLine(
        TuneArguments,
        usage="%(prog)s MODEL --data CORPUS [--FLAG VALUE ...]",
        description=(__doc__ or "").split("\n")[0],
    )


def parse_arguments(argv: list[str]) -> TuneArguments:
    """Parses the command line. Exits with a message for invalid settings, before anything is loaded."""
    arguments: TuneArguments
    (arguments,) = parser().parse(named(argv, "--model"))
    check_flags(arguments, RANGES)
    check_output_folder("--output", arguments.output)
    if (Path(arguments.output) / "model_index.json").exists():
        refuse(f"--output {arguments.output} holds a pipeline already: name another folder.")
    return arguments


def held_out(pipeline: LaddPipeline, arguments: TuneArguments) -> list[dict[str, Any]]:
    """Returns the texts by which the losses are measured."""
    split = arguments.split or ("validation" if is_own_file(arguments.data) else None)
    of_texts: dict[str, Any] = (
        {} if arguments.data == "sawtooth" else {"split": split, "text_column": arguments.text_column}
    )
    task = task_for(pipeline, arguments.data, num_samples=0, data_config=arguments.data_config, **of_texts)
    return [dict(row) for row in task.eval_dataset(arguments.num_texts, arguments.seed)]


def main(argv: list[str]) -> None:
    """Measures, solves, saves, and says what is foreseen of each budget."""
    arguments = parse_arguments(argv)
    quiet_libraries()
    datasets.disable_progress_bars()
    with refusing(ImportError), nothing_else(arguments.json):
        pipeline = loaded_pipeline(arguments.model, default_device(arguments.cpu), flag="--model")
        texts = held_out(pipeline, arguments)
        cost: Any = arguments.cost
        tuned = tune_schedule(
            pipeline.model,
            texts,
            arguments.budgets,
            cost,
            num_texts=len(texts),
            seed=arguments.seed,
            tell=ShareDone(f"Losses of {len(texts)} texts"),
        )
        pipeline.scheduler = tuned
        pipeline.save_pretrained(arguments.output)
        for name in _BESIDE:
            if (file := file_of(arguments.model, name)) is not None:
                shutil.copyfile(file, Path(arguments.output) / name)
    document, lines = foreseen(tuned, arguments)
    say(document, lines, arguments.json)


def file_of(model: str, name: str) -> Path | None:
    """Returns a file of a folder, or of a repository that has just been loaded; `None` if it has none."""
    if Path(model).is_dir():
        return file if (file := Path(model) / name).is_file() else None
    cached = try_to_load_from_cache(model, name)
    return Path(cached) if isinstance(cached, str) else None


def foreseen(tuned: LaddTunedScheduler, arguments: TuneArguments) -> tuple[dict[str, Any], list[str]]:
    """Returns what the table foresees of each budget, as data and in lines."""
    rows = []
    for budget in tuned.config.budgets:
        bound = tuned.bound(budget)
        run = tuned.run(budget)
        steps_of_latents = sum(first[1] > then[1] for first, then in pairwise(run))
        rows.append(
            {
                "evaluations": budget,
                "nats_per_token": bound.nats_per_token,
                "stderr": bound.stderr / bound.num_tokens,
                "steps_that_write_latents": steps_of_latents,
                "run": [list(point) for point in run],
            }
        )
    lines = [f"{'evaluations':>11}  {'nats per token, foreseen':>24}  {'steps that write latents':>24}"]
    for row in rows:
        told = f"{row['nats_per_token']:.4f} ± {row['stderr']:.4f}"
        lines.append(f"{row['evaluations']:>11}  {told:>24}  {row['steps_that_write_latents']:>24}")
    lines.append(f"The pipeline with this schedule is in {arguments.output}; other numbers are solved on demand.")
    return {"model": arguments.model, "output": arguments.output, "cost": arguments.cost, "budgets": rows}, lines


if __name__ == "__main__":
    main(sys.argv[1:])
