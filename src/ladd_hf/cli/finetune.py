"""Fine-tunes a saved pipeline on other data: by a LoRA adapter, or with `--full` all of its weights.

    ladd finetune out/sawtooth-di/di-ladd --output_dir out/lora
    ladd finetune user/model --train_file texts.txt --merge --output_dir out/a
    ladd finetune user/model --train_file texts.txt --full --output_dir out/b

The data is a text per line, or by default sawtooths with their teeth at one place. As in stage 2 of the training, the
encoder is fixed, so that the latents keep their meaning, unless `--train_encoder`. `--help` lists all arguments.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from peft import LoraConfig
from transformers import PreTrainedTokenizerBase, PrinterCallback, set_seed
from transformers.utils import logging as transformers_logging

from ..data import SawtoothDistribution, length_histogram
from ..data.encoding import TextEncoder
from ..models.configuration_ladd import LaddConfig
from ..models.text_frame import TextFrame
from ..pipelines.pipeline_ladd import LaddPipeline
from ..training.arguments import LaddTrainingArguments
from ..training.run_folders import set_aside
from ..training.trainer import LaddTrainer
from ..utils.local_paths import public_model_name
from ..utils.number_ranges import COUNT, POSITIVE, SHARE_BELOW_ONE
from .command_line import CommandLine, check_flags, check_output_folder, loading, named, refuse, refusing
from .interruption import tell_aside, telling_of_interrupts
from .local_texts import lines_of
from .pipelines import model_source
from .reporting import ProgressLines
from .run_results import RESULTS, derived_card, refuse_earlier, save_results, told_bounds
from .short_runs import log_short_runs

# The encoder and its quantiser, by the names of their modules.
_OF_LATENTS = r"(encoder|quantizer)\..*"
# What a run makes in its folder.
MADE = ("adapter", "pipeline")
_DEFAULTS = {
    "output_dir": "out/lora",
    "max_steps": 500,
    "learning_rate": 1e-3,
    "ema_decay": 0.99,
    "logging_steps": 50,
    "save_strategy": "no",
    "disable_tqdm": True,
}
_HELD_OUT = 200
# Ranges of the script's own numeric flags.
RANGES = {"rank": COUNT, "alpha": POSITIVE, "adapter_dropout": SHARE_BELOW_ONE, "eval_sequences": COUNT}


@dataclass
class FinetuneArguments:
    """Settings of a fine-tuning run."""

    pipeline: str = field(metadata={"help": "Folder or repository of a pipeline; may be given as the first argument."})
    rank: int = field(default=8, metadata={"help": "Rank r of the adapter's matrices."})
    alpha: float = field(default=16.0, metadata={"help": "The adapter is scaled by alpha / rank."})
    adapter_dropout: float = field(default=0.0, metadata={"help": "Dropout before the adapter."})
    target_modules: list[str] = field(
        default_factory=lambda: ["all-linear"], metadata={"help": "Names of layers, such as qkv_proj, or all-linear."}
    )
    train_encoder: bool = field(default=False, metadata={"help": "Train the latents' encoder as well."})
    full: bool = field(default=False, metadata={"help": "Train all weights, without an adapter."})
    merge: bool = field(default=False, metadata={"help": "Save a whole pipeline too, the adapter merged in."})
    train_file: str | None = field(default=None, metadata={"help": "Texts, one per line; a sawtooth if not given."})
    eval_sequences: int | None = field(
        default=None,
        metadata={"help": "Texts that are held out, for the bound; by default 200, of a file at most a tenth."},
    )


def parser() -> CommandLine:
    """Returns the parser of the command line."""
    parser = CommandLine(
        (FinetuneArguments, LaddTrainingArguments),
        launched=True,
        usage="%(prog)s MODEL --train_file TEXTS [--FLAG VALUE ...]",
        description=(__doc__ or "").split("\n")[0],
    )
    parser.set_defaults(**_DEFAULTS)
    return parser


def parse_arguments(argv: list[str]) -> tuple[FinetuneArguments, LaddTrainingArguments]:
    """Parses the command line. Exits with a message for invalid settings, before anything is loaded."""
    run, training = parser().parse(named(argv, "--pipeline"))
    check_flags(run, RANGES)
    check_flags(training, {"max_steps": COUNT})
    check_output_folder("--output_dir", training.output_dir)
    if run.train_file is not None and not Path(run.train_file).is_file():
        refuse(f"--train_file {run.train_file} is not a file; give one with a text on each line.")
    refuse_earlier(training, "fine-tuned", MADE, training.resume_if_exists)
    log_short_runs(training, argv)
    return run, training


def shifted_sawtooths(count: int, length: int, seed: int) -> datasets.Dataset:
    """Draws sawtooths whose shift is not uniform on [0, 1] but on [0, 1/8]: their teeth are at about the same place."""
    random = np.random.default_rng(seed)
    p = SawtoothDistribution(length).probabilities(random.random(count) / 8)  # (count, length)
    return datasets.Dataset.from_dict({"input_ids": (random.random(p.shape) < p).astype(np.int64)}).with_format("torch")


def texts(path: str, tokenizer: PreTrainedTokenizerBase | None, config: LaddConfig) -> datasets.Dataset:
    """Returns the lines of a file as ids, framed and truncated like the model's texts; those with fewer tokens than the
    model has latents are left out. Raises `ValueError` without a tokenizer."""
    if tokenizer is None:
        raise ValueError("--train_file is text, but the pipeline has no tokenizer: give a pipeline that has one.")
    lines = lines_of(path)
    if not lines:
        raise ValueError(f"--train_file {path} holds no text: write one on each line.")
    frame = TextFrame.of(config)
    longest = frame.length or config.max_position_embeddings
    room = longest - len(frame.start) - len(frame.end)
    encoded = TextEncoder(tokenizer)(lines)
    if cut := int((encoded.lengths > room).sum()):
        print(f"{cut:,} of {len(lines):,} texts have more than {longest} tokens, and are cut there.")
    ids = [frame.whole(line[:room].tolist()) for line in np.split(encoded.ids, encoded.lengths.cumsum()[:-1])]
    least = 1 if config.latent_type == "none" else config.latent_length - config.global_latents
    kept = [line for line in ids if len(line) >= least]
    if len(kept) < len(ids):
        print(f"{len(ids) - len(kept):,} of {len(ids):,} texts have fewer than {least} tokens, and are left out.")
    return datasets.Dataset.from_dict({"input_ids": kept}).with_format("torch")


def data(run: FinetuneArguments, training: LaddTrainingArguments, pipeline: LaddPipeline) -> tuple[Any, Any]:
    """Returns training and held-out examples. Raises `ValueError` for too few, or if the model cannot read them."""
    config, held_out = pipeline.model.config, _HELD_OUT if run.eval_sequences is None else run.eval_sequences
    if run.train_file is None:
        if config.vocab_size != SawtoothDistribution.vocab_size:
            raise ValueError(
                f"Without --train_file the texts are sawtooths, of {SawtoothDistribution.vocab_size} tokens, and the "
                f"model has {config.vocab_size}: give it texts."
            )
        batch = training.train_batch_size * training.gradient_accumulation_steps * training.world_size
        everything = shifted_sawtooths(
            held_out + training.max_steps * batch, config.max_position_embeddings, training.seed
        )
    else:
        everything = texts(run.train_file, pipeline.tokenizer, config).shuffle(training.seed)
        if run.eval_sequences is None:
            held_out = max(1, min(_HELD_OUT, len(everything) // 10))
        if config.text_lengths is not None:  # generated texts will be as long as these
            config.text_lengths = length_histogram(everything)
    if len(everything) <= held_out:
        raise ValueError(
            f"There are {len(everything)} texts, and {held_out} are to be held out: give more, or a smaller "
            "--eval_sequences."
        )
    return everything.select(range(held_out, len(everything))), everything.select(range(held_out))


def adapted(model: Any, run: FinetuneArguments) -> Any:
    """Returns the model with a new adapter, which has no effect before it is trained."""
    names = run.target_modules
    alpha: Any = run.alpha  # which peft declares as a whole number, and divides by the rank
    config = LoraConfig(
        r=run.rank,
        lora_alpha=alpha,
        lora_dropout=run.adapter_dropout,
        target_modules=names[0] if len(names) == 1 and names[0] == "all-linear" else names,
        exclude_modules=None if run.train_encoder else _OF_LATENTS,
    )
    model.add_adapter(config)
    return model


def main(argv: list[str]) -> None:
    """Runs the whole job: the bound before, training, the bound after, saving."""
    run, training = parse_arguments(argv)
    for library in (transformers_logging, diffusers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    set_seed(training.seed)

    # 1. The model and its data
    with refusing():
        with loading(f"--pipeline {run.pipeline}"):
            # trained in full precision, however it was saved: steps are smaller than bfloat16 tells apart
            pipeline = LaddPipeline.from_pretrained(model_source(run.pipeline), dtype=torch.float32)
        model = pipeline.model
        train_set, eval_set = data(run, training, pipeline)
        if not run.train_encoder:
            model.freeze_latent_encoder()
        trainer = LaddTrainer(
            model if run.full else adapted(model, run),
            training,
            train_dataset=train_set,
            eval_dataset=eval_set,
            processing_class=pipeline.tokenizer,
            callbacks=[ProgressLines()],
        )
    trainer.remove_callback(PrinterCallback)
    name = Path(run.train_file).name if run.train_file else "shifted sawtooths"
    if training.process_index == 0:
        print(f"{name}: {len(train_set):,} texts to train on, {len(eval_set):,} held out.", flush=True)

    # 2. Training, and the bound on held-out texts before and after it
    bounds = {}
    if not trainer.is_fsdp_enabled:  # FSDP2 prepares model and optimiser together, when training begins
        with refusing():  # texts that the model cannot read
            bounds["before"] = trainer.evaluate()
    if training.start_anew:
        with training.main_process_first(local=False, desc="moving an earlier run aside"):
            tell_aside(set_aside(str(training.output_dir), also=(*MADE, RESULTS)))
    # errors found only at the first step, such as a folder with another run
    with telling_of_interrupts(trainer), refusing():
        trainer.train()
    bounds["after"] = trainer.evaluate()

    # 3. Saving
    folder = Path(str(training.output_dir))
    saved = {}
    told = f"{name} ({len(train_set):,} texts)", f"{name}, {len(eval_set):,} held-out texts"
    card = partial(derived_card, trainer, run.pipeline, "fine-tuned", texts=told[0], held_out=told[1])
    if not run.full:
        saved["adapter"] = folder / "adapter"
        trainer.save_model(str(saved["adapter"]))
        if training.process_index == 0:
            card("adapter", adapter_of=public_model_name(run.pipeline)).save(saved["adapter"] / "README.md")
    if run.full or run.merge:
        saved["pipeline"] = folder / "pipeline"
        trainer.save_pipeline(str(saved["pipeline"]), pipeline.scheduler, card("pipeline"))
    if training.process_index == 0:
        save_results(trainer, bounds, saved)
        learnt = sum(p.numel() for p in model.parameters() if p.requires_grad)
        print(f"{learnt:,} weights trained, {training.max_steps:,} steps")
        print(told_bounds(bounds, training))
        for name, place in saved.items():
            print(f"{name} in {place}")


if __name__ == "__main__":
    main(sys.argv[1:])
