"""Distils a saved pipeline's continuous latents, so that they are drawn in a few evaluations: `ladd distill`.

The stage `meanflow` teaches the network jumps along the flow of the latents: docs/training.md. The encoder is
fixed, and without jumps the model stays the one that it was.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import torch
from transformers import PrinterCallback, set_seed

from ..evaluation.tasks import task_for
from ..models.configuration_ladd import LaddConfig
from ..models.modeling_ladd import LaddForDiffusionLM
from ..pipelines.pipeline_ladd import LaddPipeline
from ..training.arguments import LaddTrainingArguments
from ..training.run_folders import set_aside
from ..training.trainer import LaddTrainer
from ..utils.number_ranges import COUNT, COUNT_OR_ZERO
from .command_line import CommandLine, check_flags, check_output_folder, loading, named, refusing
from .interruption import tell_aside, telling_of_interrupts
from .pipelines import model_source, quiet_libraries
from .reporting import ProgressLines
from .run_results import RESULTS, derived_card, refuse_earlier, save_results, told_bounds
from .short_runs import log_short_runs

MADE = "pipeline"  # by a run in its folder
# A fifth of the run warms the derivative up.
STAGE = {"name": "meanflow", "ramps": {"meanflow_tangent": {"steps": 0.2}}}
_DEFAULTS = {
    "output_dir": "out/distilled",
    "max_steps": 1000,
    "learning_rate": 1e-3,
    "ema_decay": 0.99,
    "fully_masked_share": 0.75,  # latents are drawn before any token is seen
    "per_device_train_batch_size": 32,
    "logging_steps": 100,
    "save_strategy": "no",
    "disable_tqdm": True,
}


@dataclass
class DistillArguments:
    """Settings of a distillation, besides those of its training."""

    pipeline: str = field(metadata={"help": "Folder or repository of a pipeline; may be given as the first argument."})
    data: str = field(metadata={"help": "A known corpus, 'user/name' on the Hub, or local files."})
    data_config: str | None = field(
        default=None, metadata={"help": "Configuration of a data set of the Hub, if it has several."}
    )
    text_column: str = field(default="text", metadata={"help": "The column with the texts, of files and the Hub."})
    num_eval_sequences: int = field(default=0, metadata={"help": "Held-out sequences for the bound; 0: none."})


def parser() -> CommandLine:
    """Returns the parser of the command line."""
    parser = CommandLine(
        (DistillArguments, LaddTrainingArguments),
        launched=True,
        usage="%(prog)s MODEL --data CORPUS [--FLAG VALUE ...]",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.set_defaults(**_DEFAULTS)
    return parser


def parse_arguments(argv: list[str]) -> tuple[DistillArguments, LaddTrainingArguments]:
    """Parses the command line. Exits with a message for invalid settings, before anything is loaded."""
    run, training = parser().parse(named(argv, "--pipeline"))
    check_flags(run, {"num_eval_sequences": COUNT_OR_ZERO})
    check_flags(training, {"max_steps": COUNT})
    check_output_folder("--output_dir", training.output_dir)
    refuse_earlier(training, "distilled", (MADE,))
    log_short_runs(training, argv)
    if not training.stages:
        training.stages = [STAGE]
    return run, training


def check_kind(model: str, config: LaddConfig) -> None:
    """Raises `ValueError` for a model whose latents cannot jump, with what helps it instead."""
    if config.latent_type == "none":
        raise ValueError(f"{model} is an MDLM, which has no latents to distil: give a Co-LADD.")
    if config.latent_type == "discrete":
        raise ValueError(
            f"{model} has codes, which are drawn and do not flow: give a Co-LADD, or tune the schedule of this one "
            "with `ladd tune`."
        )
    kind = config.latent_prediction_type
    if (kind if isinstance(kind, str) else kind.get("name")) == "anchors":
        raise ValueError(
            f"{model} draws its latents from anchors, and does not flow to them: give a Co-LADD with another "
            "`latent_prediction_type`, or tune the schedule of this one with `ladd tune`."
        )


def main(argv: list[str]) -> None:
    """Runs the whole job: the saved model with jumps, its training, saving."""
    run, training = parse_arguments(argv)
    quiet_libraries()
    datasets.disable_progress_bars()
    set_seed(training.seed)
    with refusing(ImportError):
        with loading(run.pipeline):
            pipeline = LaddPipeline.from_pretrained(model_source(run.pipeline), dtype=torch.float32)  # as in training
        check_kind(run.pipeline, pipeline.model.config)
        pipeline = _jumping(pipeline)
        of_texts: dict[str, Any] = {} if run.data == "sawtooth" else {"text_column": run.text_column}
        task = task_for(pipeline, run.data, data_config=run.data_config, **of_texts)
        count = training.max_steps * training.train_batch_size * training.world_size
        held_out = task.eval_dataset(run.num_eval_sequences, training.seed) if run.num_eval_sequences else None
        trainer = LaddTrainer(
            pipeline.model,
            training,
            train_dataset=task.train_dataset(count * training.gradient_accumulation_steps, training.seed),
            eval_dataset=held_out,
            processing_class=pipeline.tokenizer,
            callbacks=[ProgressLines()],
        )
    trainer.remove_callback(PrinterCallback)
    bounds = {}
    if held_out is not None and not trainer.is_fsdp_enabled:  # which prepares model and optimiser together, later
        with refusing():
            bounds["before"] = trainer.evaluate()
    folder = Path(str(training.output_dir))
    if training.start_anew:
        with training.main_process_first(local=False, desc="moving an earlier run aside"):
            tell_aside(set_aside(folder, also=(MADE, RESULTS)))
    with telling_of_interrupts(trainer), refusing():
        trainer.train()
    if held_out is not None:
        bounds["after"] = trainer.evaluate()
    texts = task.name, f"{task.name}, {0 if held_out is None else len(held_out):,} held-out sequences"
    card = derived_card(trainer, run.pipeline, "distilled", MADE, *texts)
    trainer.save_pipeline(str(folder / MADE), pipeline.scheduler, card)
    if training.process_index == 0:
        save_results(trainer, bounds, {MADE: folder / MADE})
        if bounds:
            print(told_bounds(bounds, training))
        print(f"pipeline in {folder / MADE}; next, try: ladd generate {folder / MADE} --steps 2")


def _jumping(pipeline: LaddPipeline) -> LaddPipeline:
    """Returns the pipeline with a model that has an input for the time that a step leads to, the same until it is
    trained."""
    if pipeline.model.config.latent_flow_map:
        return pipeline
    model = LaddForDiffusionLM.from_pretrained(pipeline.model.name_or_path, latent_flow_map=True, dtype=torch.float32)
    return LaddPipeline(model, pipeline.scheduler, pipeline.tokenizer)


if __name__ == "__main__":
    main(sys.argv[1:])
