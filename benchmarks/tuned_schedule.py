"""Compares tuned schedules with the best that are set by hand, at few evaluations: bounds, and the judge's scores.

    python benchmarks/tuned_schedule.py out/sawtooth-di/di-ladd out/sawtooth-di/mdlm \
        --json benchmarks/results/tuned_schedule.json

For each saved pipeline a schedule is tuned on held-out texts, and then both the tuned run and those of hand-set paths
are measured anew, at each number of evaluations: the bound on other held-out texts (also with latents and orders
averaged out), with its standard error over them, and the judge's nats of samples, with theirs. What tuning costs, in
seconds of CPU time, is told as a share of the pipeline's own training, whose seconds and operations stand in its folder
(`training_cost.json`); `--training_seconds` is for folders without. Give both one thread (`OMP_NUM_THREADS=1`).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ladd_hf import LaddPipeline, LaddScheduler, tune_schedule
from ladd_hf.data import load_corpus
from ladd_hf.evaluation.models import short_names
from ladd_hf.metrics import quality_by_evaluations
from ladd_hf.metrics.flops import FlopCounter
from ladd_hf.tasks import SawtoothTask, Task, TextTask
from ladd_hf.training.cost_files import load_cost

BY_HAND: dict[str, dict[str, Any]] = {
    "joint": {"path": "joint"},
    "joint, cosine": {"path": "joint", "timestep_spacing": "cosine"},
    "one step of latents, then tokens": {"path": "sequential", "steps": None},
    "sequential, cosine": {"path": "sequential", "steps": None, "timestep_spacing": "cosine"},
    "sequential, in halves": {"path": "sequential", "steps": [1, 1]},
    "latents to 0.3, then both": {"path": [[1, 1], [1, 0.3], [0, 0]], "steps": None},
}


def task_of(name: str, pipeline: LaddPipeline) -> Task:
    """Returns the data and the judge of a pipeline."""
    length = pipeline.model.config.max_position_embeddings
    if name == "sawtooth":
        return SawtoothTask(length)
    return TextTask(name, load_corpus(name), pipeline.tokenizer, length)


def hand_set(pipeline: LaddPipeline, num_steps: int) -> dict[str, LaddScheduler]:
    """Returns the schedulers that a model can follow in so many steps; a single step of latents, if not in halves."""
    config, schedulers = pipeline.model.config, {}
    for label, options in BY_HAND.items():
        legs = 1 if options["path"] == "joint" else 2
        if num_steps < legs or (legs > 1 and config.latent_type == "none"):
            continue
        steps = {"steps": [1, num_steps - 1]} if legs == 2 and options["steps"] is None else {}
        scheduler = LaddScheduler(**{**options, **steps}).for_model(config)
        if scheduler.path.latents_first or not config.separate_latent_denoiser:
            schedulers[label] = scheduler
    return schedulers


def bound_of(pipeline: LaddPipeline, scheduler: LaddScheduler, num_steps: int, texts: Tensor, **options: Any) -> dict:
    """Returns the bound of a run in nats per token, with its standard error over texts.

    `options` are those of the model's `nelbo`: `num_samples`, or `num_proposals` of the marginalised bound.
    """
    run = scheduler.run(num_steps)
    found = pipeline.model.nelbo(texts, run=run, generator=torch.Generator().manual_seed(0), **options)
    nats = found.total_nats / found.num_tokens
    return {"nats": float(nats.mean()), "error": float(nats.std() / math.sqrt(len(nats))), "run": run}


def judged(pipeline: LaddPipeline, scheduler: LaddScheduler, num_steps: int, task: Task, num_samples: int) -> dict:
    """Returns the judge's nats of samples, with their standard error."""
    pipeline.scheduler = scheduler
    score = quality_by_evaluations(pipeline, [num_steps], task.judge, num_samples)[num_steps]
    return {"nats": score["nats"], "error": score["nats_stderr"]}


def training_of(folder: Path, seconds: float | None) -> dict[str, float]:
    """Returns the seconds and operations of a pipeline's training: those in its folder, or in the results of its run
    beside it, if all of its steps were counted, else the seconds given.

    Raises `ValueError` if there are neither.
    """
    cost, results = load_cost(folder), folder.parent / "results.json"
    if not cost and results.is_file():
        (cost,) = json.loads(results.read_text())["training"].values()
    missing = cost.get("uncounted_steps", 0)
    if cost and not missing:
        return {"training_seconds": cost["seconds"], "training_flops": cost["flops"]}
    if seconds is None:
        lacking = f"{missing:,.0f} of its training's steps" if missing else "its training"
        raise ValueError(f"{folder} does not say what {lacking} cost: give --training_seconds.")
    return {"training_seconds": seconds}


def compare(
    pipeline: LaddPipeline, task: Task, training: dict[str, float], options: argparse.Namespace
) -> dict[str, Any]:
    """Tunes a schedule and measures it beside those that are set by hand."""
    rows = task.eval_dataset(options.num_texts + options.num_bound_texts, 0)
    texts = torch.stack([torch.as_tensor(row["input_ids"]).long() for row in rows]).to(pipeline.device)
    given = texts[: options.num_texts], options.budgets
    tune = partial(tune_schedule, pipeline.model, *given, num_texts=options.num_texts, cells=options.cells)
    start = time.process_time()  # other processes do not count
    tuned = tune()
    seconds, others = time.process_time() - start, texts[options.num_texts :]
    with FlopCounter() as counter:  # apart, for counting takes time
        tune()
    share = seconds / training["training_seconds"]
    result: dict[str, Any] = {"tuning_seconds": seconds, "tuning_share": share, "tuning_flops": counter.flops}
    told = f"{seconds:.1f} s of CPU time ({share:.1%} of the training of {training['training_seconds']:,.1f} s)"
    if "training_flops" in training:
        of_flops = result["tuning_share_of_flops"] = counter.flops / training["training_flops"]
        told += f", {counter.flops:.3g} operations ({of_flops:.1%} of {training['training_flops']:.3g})"
    print(f"  tuned in {told}", flush=True)
    result |= {**training, "budgets": {}}
    for num_steps in options.budgets:
        schedulers = {"tuned": tuned, **hand_set(pipeline, num_steps)}
        kinds = {"bound": {"num_samples": options.draws * num_steps}}  # each step is met `draws` times for every text
        if options.num_proposals:
            kinds["marginal bound"] = {"num_proposals": options.num_proposals}
        scores = {
            label: {
                **{kind: bound_of(pipeline, one, num_steps, others, **given) for kind, given in kinds.items()},
                "samples": judged(pipeline, one, num_steps, task, options.num_samples),
            }
            for label, one in schedulers.items()
        }
        scores["tuned"]["foreseen"] = tuned.bound(num_steps).nats_per_token
        result["budgets"][num_steps] = scores
        print(f"  {num_steps} evaluations", flush=True)
        for label, score in scores.items():
            numbers = "   ".join(
                f"{kind} {score[kind]['nats']:.4f} ± {score[kind]['error']:.4f}" for kind in (*kinds, "samples")
            )
            print(f"    {label:<34} {numbers}", flush=True)
    return result


def main() -> None:
    """Prints the table; writes it as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("pipelines", nargs="+", type=Path, help="folders of saved pipelines")
    parser.add_argument("--data", choices=["sawtooth", "python-docs"], default="sawtooth")
    parser.add_argument("--training_seconds", type=float, help="of pipelines whose folders do not hold them")
    parser.add_argument("--budgets", type=int, nargs="+", default=[2, 3, 4, 6, 8, 16])
    parser.add_argument("--num_texts", type=int, default=256, help="texts that the schedule is tuned on")
    parser.add_argument("--cells", type=int, default=8)
    parser.add_argument("--num_bound_texts", type=int, default=500)
    parser.add_argument("--draws", type=int, default=4, help="of each step, for the bound")
    parser.add_argument(
        "--num_proposals", type=int, default=0, help="of the bound with latents and orders averaged out"
    )
    parser.add_argument("--num_samples", type=int, default=4000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.training_seconds is not None and not options.training_seconds > 0:
        parser.error(f"--training_seconds is {options.training_seconds:g}; give a number above 0.")
    results = {}
    try:  # before anything is tuned
        trainings = [training_of(folder, options.training_seconds) for folder in options.pipelines]
        names = short_names([str(folder) for folder in options.pipelines])
    except ValueError as error:
        parser.error(str(error))
    for folder, name, training in zip(options.pipelines, names, trainings, strict=True):
        print(name, flush=True)
        pipeline = LaddPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        results[name] = compare(pipeline, task_of(options.data, pipeline), training, options)
        if options.json:
            options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
