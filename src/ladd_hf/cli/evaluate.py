"""Evaluates trained models on a corpus: their bounds, and the quality and cost of their samples.

    ladd evaluate out/python-docs-di/di-ladd --data python-docs
    ladd evaluate out/python-docs-di/di-ladd --beside out/python-docs-di/mdlm --data python-docs \
        --budgets 2 4 8 --schedules saved tuned --judges ngram entropy memorization --timing_rounds 5 --results out/eval
    ladd evaluate user/model --data lm1b --num_samples 0 --num_sequences 1000

The bound in continuous time is computed on held-out texts: of the test split by default, or of the validation split.
Samples are drawn at some numbers of evaluations (`--budgets`) and scored by judges that read the corpus' training texts
(docs/measuring.md); with `--num_samples 0` there are none, and no training texts are read. The folder `--results` gets
bounds, scores and costs: JSON of each model, with which a run that was stopped goes on, a table, and a plot against
evaluations, floating-point operations and seconds. Others are compared with the first model of `--beside`, or with the
model and schedule of `--baseline`, such as `--baseline "mdlm tuned"`.

MODEL is a folder or a repository of a pipeline, or of a model that was saved with its tokenizer, or an included
pipeline by name. The corpus is one of `known_corpora()`, a data set of the Hub, or local files; its texts become blocks
of the model's own tokens.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import datasets
import torch
from accelerate import Accelerator
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from ..data.corpora import is_own_file
from ..evaluation import Comparison, evaluate_models
from ..evaluation.models import COMMAND, TABLE
from ..training.run_facts import running_command
from .command_line import refusing
from .evaluation_flags import TO_OUTPUT, EvaluationArguments, judges_of, parse_arguments, settings_of, texts_of
from .output import nothing_else
from .pipelines import folder_of_included


def evaluate(arguments: EvaluationArguments, accelerator: Accelerator) -> Comparison:
    """Evaluates all models alike, and writes the folder."""
    return evaluate_models(
        [folder_of_included(model) for model in (*arguments.beside, arguments.model)],
        arguments.data,
        settings_of(arguments),
        arguments.results,
        judges_of(arguments) or None,
        torch.bfloat16 if arguments.bf16 else torch.float32,
        accelerator,
        tell=lambda line: print(line, flush=True),
        baseline=arguments.baseline,
        **texts_of(arguments),
    )


def main(argv: list[str]) -> None:
    """Measures, prints the table, and writes the results."""
    arguments = parse_arguments(argv, __doc__.split("\n")[0])
    for library in (datasets, diffusers_logging, transformers_logging):
        library.disable_progress_bar()
    with refusing(ImportError), nothing_else(arguments.json == TO_OUTPUT):  # an error of a judge's optional package
        accelerator = Accelerator(cpu=arguments.cpu)
        if (
            accelerator.is_main_process
            and not arguments.num_samples
            and not arguments.split
            and is_own_file(arguments.data)
        ):
            print(
                f"Without samples all of {arguments.data} is read, training texts included if it has them; with "
                "--split validation the share that a training holds out.",
                flush=True,
            )
        comparison = evaluate(arguments, accelerator)
    if not accelerator.is_main_process:
        return
    command = running_command(accelerator.num_processes)
    (Path(arguments.results) / COMMAND).write_text(f"{command}\n", encoding="utf-8")
    document = json.dumps({"command": command, **comparison.data()}, indent=2)
    if arguments.json == TO_OUTPUT:
        print(document)
        return
    print(f"\n{(Path(arguments.results) / TABLE).read_text()}\nResults are in {arguments.results}.")
    if arguments.json is not None:
        with refusing():
            Path(arguments.json).write_text(document + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
