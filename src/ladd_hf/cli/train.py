"""Trains LADD and its baseline MDLM alike, and compares their samples at few evaluations.

    ladd train                                                  # sawtooth, Di-LADD, minutes
    ladd train python-docs-di                                   # text, half an hour
    ladd train --data my.txt                                    # your own, by the recipe own-texts
    ladd train --max_steps 200 --seed 1 --output_dir out/quick

A recipe is a YAML file of the fields in `recipes.py`, given with `--config` or as the first argument; flags override
it, `--unset FIELD ...` takes fields out of it, and `--help` lists them all. Its `base` names a recipe, or a list of
them, from its own folder: it starts from their settings, later ones over earlier ones, and overrides them.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import datasets
import torch
from diffusers.utils import logging as diffusers_logging
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedTokenizerBase, PrinterCallback, TrainerCallback, set_seed
from transformers.utils import logging as transformers_logging

from ..data import LaddCollator, load_corpus, make_tokenizer, precompute_latents, text8_normalize
from ..data.corpora import check_corpus, separator_of
from ..data.missing_texts import present
from ..data.precompute import check_precomputable
from ..diffusion.process import NoiseProcess
from ..metrics import OneStepDecoding, quality_by_evaluations
from ..models.configuration_ladd import LaddConfig
from ..models.encoders.pretrained import check_pretrained_encoder
from ..models.modeling_ladd import LaddForDiffusionLM
from ..pipelines.pipeline_ladd import LaddPipeline
from ..schedulers.scheduling_ladd import LaddScheduler
from ..tasks import Judgement, SawtoothTask, Task, TextTask
from ..tasks.sawtooth import JUDGE_HELD_OUT as FRESH_SEQUENCES
from ..tasks.text import JUDGE_HELD_OUT
from ..training.arguments import LaddTrainingArguments
from ..training.hub import training_recipe
from ..training.log_samples import LogSamples
from ..training.model_card import METHODS, Temperatures
from ..training.run_facts import running_command
from ..training.run_folders import set_aside
from ..training.trainer import LaddTrainer
from ..utils import own_command
from ..utils.time_left import TimeLeft
from .command_line import refuse, refusing
from .interruption import tell_aside, telling_of_interrupts, without_empty_folders
from .recipes import RunArguments, baseline_arguments, parse_arguments
from .recommended import least_tokens, number_of_tokens, recommended_stages, told_choice, told_data
from .reporting import ProgressLines, describe_bound, plot, print_results, sample_scores


def normalized(row: dict[str, str | None]) -> dict[str, str]:
    """Normalises a document to text8's symbols. Raises `ValueError` if it is missing (null)."""
    return {"text": text8_normalize(present(row["text"]))}


def watch_latents(task: Task, held_out: Any) -> list[TrainerCallback]:
    """Returns, for texts, the callback that logs how many of their tokens the latents alone recover."""
    rows = [held_out[row] for row in range(min(len(held_out), 128))]
    if task.tokenizer is None or len(rows) < 2:
        return []
    batch = LaddCollator(task.vocabulary.get("pad_token_id"))(rows)
    return [OneStepDecoding(batch["input_ids"], batch.get("attention_mask"), batch.get("precomputed_latents"))]


def decoded(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """Decodes a sample with its special tokens, except for the padding after it."""
    real = [place for place, one in enumerate(ids) if one != tokenizer.pad_token_id]
    return cast(str, tokenizer.decode(ids[: real[-1] + 1] if real else []))


def make_task(run: RunArguments, min_tokens: int | Callable[[PreTrainedTokenizerBase], int] = 1) -> Task:
    """Returns data and judge; padded texts have at least `min_tokens`, which may depend on the tokenizer. Raises
    `ValueError`, `OSError` for missing data."""
    if run.data == "sawtooth":
        return SawtoothTask(run.length, run.judges or (), max(FRESH_SEQUENCES, 2 * run.num_samples))
    reading = {name: getattr(run, name) for name in ("streaming", "text_column", "sample_by", "held_out", "num_proc")}
    splits = load_corpus(run.data, config=run.data_config, **reading)
    if run.normalize:
        splits = {name: split.map(normalized) for name, split in splits.items()}
    texts = (row["text"] for row in splits.get("train", ()))
    tokenizer = make_tokenizer(run.tokenizer, texts, run.tokenizer_vocab_size, run.bos_token, run.eos_token)
    same = ("packing", "truncate", "fill", "judge_order", "judge_characters", "num_proc")
    options = {name: getattr(run, name) for name in same}
    options["separator"] = separator_of(run.data) if run.separator is None else run.separator
    if run.judges is not None:
        options["judges"] = run.judges
    # a card must not show where files are
    name = Path(run.data).resolve().name if Path(run.data).exists() else run.data
    options["judge_held_out"] = max(JUDGE_HELD_OUT, 2 * run.num_samples)
    least = run.min_tokens or (min_tokens(tokenizer) if callable(min_tokens) else min_tokens)
    return TextTask(name, splits, tokenizer, run.length, min_tokens=least, **options)


def train(
    label: str,
    config: LaddConfig,
    training: LaddTrainingArguments,
    task: Task,
    data: tuple[Any, Any],
    schedulers: LaddScheduler | dict[str, LaddScheduler],
    precompute: bool = False,
) -> tuple[LaddTrainer, float]:
    """Trains one model from the run's seed; returns its trainer and the seconds it took. Samples that `sample_budgets`
    asks for at evaluations follow `schedulers`."""
    set_seed(training.seed)
    model: Any = LaddForDiffusionLM(config)
    if precompute:
        model.set_tokenizer(task.tokenizer)
        model.to(training.device)
        with training.main_process_first(desc="encoding"):  # the others load what the first stored
            data = precompute_latents(data[0], model), precompute_latents(data[1], model)
        if training.process_index == 0:
            print(data[0].info.description.splitlines()[-1], flush=True)  # description and size of the stored latents
    if training.process_index == 0:
        print(f"\n{label}: {model.num_parameters():,} parameters, {training.max_steps:,} steps", flush=True)
    callbacks = [*(watch_latents(task, data[1]) if config.latent_type != "none" else []), ProgressLines()]
    if training.sample_budgets:
        callbacks.append(LogSamples(schedulers=schedulers, score=task.judge))
    train_set, held_out = data
    checkpoints = Path(str(training.output_dir))
    # errors are the user's, too, that only the trainer finds, or its first step, such as a folder with another run
    with without_empty_folders(training, checkpoints, checkpoints.parent), refusing():
        trainer = LaddTrainer(
            model,
            training,
            train_dataset=train_set,
            eval_dataset=held_out if len(held_out) else None,
            processing_class=task.tokenizer,
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)
        start = time.time()
        with telling_of_interrupts(trainer):
            trainer.train()
    return trainer, time.time() - start


def _temperatures(scheduler: LaddScheduler, config: LaddConfig) -> Temperatures:
    latents = 1.0 if config.latent_type == "none" else scheduler.config.latent_temperature
    return Temperatures(scheduler.config.temperature, latents)


def main(argv: list[str]) -> None:
    """Runs the whole job: data, training, samples, results."""
    run, model_arguments, schedulers, training = parse_arguments(argv, __doc__.split("\n")[0])
    for library in (transformers_logging, diffusers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    datasets.disable_progress_bars()
    if training.device.type == "cpu":  # accelerate allows a process one thread unless told otherwise
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        asked = own_command.is_alone() and "OMP_NUM_THREADS" in os.environ  # launchers set it unasked
        torch.set_num_threads(
            run.cpu_threads or (torch.get_num_threads() if asked else max(1, cores // training.world_size))
        )
    start, folder = time.time(), Path(str(training.output_dir))
    if run.data != "sawtooth":
        with refusing():
            check_corpus(run.data)
    if (folder / "results.json").exists() and not training.start_anew:
        refuse(f"{folder} already holds the results of a run: give another --output_dir, or --start_anew.")

    # 1. All checks, before anything is trained
    count = training.max_steps * training.train_batch_size * training.world_size * training.gradient_accumulation_steps
    # the others load texts and blocks from the first one's cache; streams are not cached
    first = nullcontext() if run.streaming else training.main_process_first(desc="reading texts")
    with refusing(StrictDataclassError):
        with first:
            least: Any = model_arguments.least_tokens  # the baseline is trained on the same texts
            if run.recommended:
                least = partial(least_tokens, model_arguments.given(), length=run.length)
            task = make_task(run, least)
            chosen: dict[str, Any] = {}
            if run.recommended:
                blocks = task.train_dataset(count, training.seed)
                chosen = {"recommended": True, "num_tokens": number_of_tokens(blocks, task.length)}
            configs = {
                name: model_arguments.config(task, latents=name == "ladd", **chosen) for name in ("ladd", "mdlm")
            }
            if run.recommended and not training.stages:
                training.stages = recommended_stages(configs["ladd"], training.max_steps)
            check_pretrained_encoder(configs["ladd"], task.tokenizer, task.length)
            if run.precompute_latents:
                check_precomputable(configs["ladd"], run.streaming)
                for objective in training.stage_plan.objectives():
                    objective.check_precomputed()
            if not (compared := schedulers.compared(configs["ladd"])) and not schedulers.to_tune:
                raise ValueError(
                    "`schedules` has no path that a separate latent denoiser can follow: add 'sequential'."
                )
            data = task.train_dataset(count, training.seed), task.eval_dataset(run.num_eval_sequences, training.seed)
        if training.process_index == 0:  # only this one judges
            if run.recommended:
                print(told_data(task, data[0]))
                print(told_choice(configs["ladd"], training.stage_plan.lengths()), flush=True)
            task.reference(run.num_samples)

    # 2. Training, of both models on the same data
    folders = {"ladd": folder / METHODS[model_arguments.latent_type].lower(), "mdlm": folder / "mdlm"}
    if training.start_anew:
        earlier = ("results.json", "results.png", "checkpoints", *(one.name for one in folders.values()))
        with training.main_process_first(local=False, desc="moving an earlier run aside"):
            tell_aside(set_aside(folder, also=earlier))
    trainers: dict[str, LaddTrainer] = {}
    seconds: dict[str, float] = {}
    if run.baseline and model_arguments.latent_type != "none":
        arguments = baseline_arguments(training, folder / "checkpoints" / "mdlm")
        trainers["mdlm"], seconds["mdlm"] = train(
            "MDLM", configs["mdlm"], arguments, task, data, schedulers.along("joint")
        )
    method = METHODS[configs["ladd"].latent_type]
    arguments = copy.deepcopy(training)
    arguments.output_dir = str(folder / "checkpoints" / folders["ladd"].name)
    trainers["ladd"], seconds["ladd"] = train(
        method, configs["ladd"], arguments, task, data, compared, precompute=run.precompute_latents
    )
    bounds = {name: trainer.evaluate() for name, trainer in trainers.items()} if run.num_eval_sequences else {}
    plans: dict[str, dict[str, LaddScheduler]] = {}
    for name, trainer in trainers.items():
        plans[name] = {"MDLM": schedulers.along("joint")}
        if configs[name].latent_type != "none":
            plans[name] = {f"{method} {path}": scheduler for path, scheduler in compared.items()}
        best = next(reversed(plans[name].values()), None)
        trainer.save_pipeline(str(folders[name]), best)  # in all processes: each may hold a shard of the weights
    if training.process_index != 0:
        return

    if schedulers.to_tune:
        print("\nTuning the schedule on held-out sequences", flush=True)
        pipeline = LaddPipeline.from_pretrained(str(folders["ladd"])).to(training.device)
        tuned = schedulers.tuned(pipeline.model, trainers["ladd"].eval_dataset)
        plans["ladd"] |= {f"{method} {name}": scheduler for name, scheduler in tuned.items()}
        if schedulers.schedules[-1] in schedulers.to_tune:
            pipeline.scheduler = tuned[schedulers.schedules[-1].name]
            pipeline.save_config(folders["ladd"])
            pipeline.scheduler.save_pretrained(folders["ladd"] / "scheduler")

    # 3. The quality of the pipelines' samples
    quality: dict[str, dict[int, Judgement]] = {}
    samples: dict[str, dict[int, str]] = {}
    print(f"\nSampling {run.num_samples:,} sequences at each number of evaluations", flush=True)
    clock = TimeLeft(sum(map(len, plans.values())))
    for name in trainers:
        for label, scheduler in plans[name].items():
            pipeline = LaddPipeline.from_pretrained(str(folders[name]), scheduler=scheduler).to(training.device)
            pipeline.set_progress_bar_config(disable=True)
            sampled = quality_by_evaluations(
                pipeline,
                run.budgets,
                lambda sequences: (task.judge(sequences), sequences[0]),
                run.num_samples,
                run.sample_batch_size,
                training.seed,
            )
            quality[label] = {n: judgement for n, (judgement, _) in sampled.items()}
            print(f"  {label} ({clock.after(1):.0f} s left)", flush=True)
            if task.tokenizer is not None:
                samples[label] = {n: decoded(task.tokenizer, ids.tolist()) for n, (_, ids) in sampled.items()}
    comparisons = {
        label: {n: task.compare(quality["MDLM"][n], score) for n, score in scores.items()}
        for label, scores in quality.items()
        if "MDLM" in quality and label != "MDLM"
    }

    # 4. Results: table, samples, JSON, plot, cards
    print_results(task, quality, comparisons, samples, run.num_samples)
    for name, metrics in bounds.items():
        label, process = METHODS[configs[name].latent_type], NoiseProcess.of(configs[name])
        print(describe_bound(label, training.nelbo_paths[0], metrics, training.nelbo_run, process))
    command, about = running_command(training.world_size), f"{task.name} ({count:,} examples seen)"
    for name, trainer in trainers.items():
        title = f"{METHODS[configs[name].latent_type]} on {task.name}"
        card = trainer.model_card(
            title,
            f"user/{re.sub('[^a-z0-9]+', '-', title.lower())}",
            about,
            f"{task.name}, {len(data[1]):,} held-out sequences",
            command,
            sample_scores(
                task,
                {schedule: quality[schedule] for schedule in plans[name]},
                trainer,
                run.num_samples,
                {schedule: _temperatures(scheduler, configs[name]) for schedule, scheduler in plans[name].items()},
            ),
        )
        card.save(folders[name] / "README.md")
    results = {
        "command": command,
        "facts": training_recipe(trainers["ladd"], about, command).facts,
        "stages": {name: trainer.args.stage_plan.as_data() for name, trainer in trainers.items()},
        "reference": dict(task.reference(run.num_samples)),
        "quality": {label: {n: dict(score) for n, score in scores.items()} for label, scores in quality.items()},
        "comparison": comparisons,
        "compared_by": task.comparison,
        "samples": samples,
        "bounds": bounds,
        "log": {name: trainer.state.log_history for name, trainer in trainers.items()},
        "training": {
            name: {"flops": trainer.training_flops, "seconds": trainer.training_seconds}
            for name, trainer in trainers.items()
        },
        "seconds": {**seconds, "everything": time.time() - start},
    }
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    left = ["results.json"]
    if find_spec("matplotlib") is not None:  # of the extra `plot`
        plot(task, quality, folder / "results.png", run.num_samples)
        left.append("results.png")
    else:
        print("\nNo plot was drawn, for which matplotlib is not installed.")
    told = ", ".join([*left, *(f"the pipeline {folders[name].name}" for name in trainers)])
    print(f"\nIn {folder} are {told} ({time.time() - start:.0f} s in all). Next, try:\n")
    print(f"  {_next_command(folders['ladd'], task)}\n")


def _next_command(folder: Path, task: Task) -> str:
    """Returns a command that writes with the trained pipeline."""
    if own_command.is_running():
        return f"ladd generate {shlex.quote(str(folder))} -n 4 --steps 2"
    written = "sequences" if task.tokenizer is None else "texts"
    return (
        f'{sys.executable} -c "from ladd_hf import LaddPipeline; '
        f"print(LaddPipeline.from_pretrained('{folder}')(num_steps=2, batch_size=4).{written})\""
    )


if __name__ == "__main__":
    main(sys.argv[1:])
