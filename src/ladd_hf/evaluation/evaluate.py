"""The evaluation of a pipeline: each schedule, temperature and budget in turn, a row of numbers for each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from ..metrics import sampling_cost, tune_schedule
from ..metrics.sampling_time import TimedRun, sampling_seconds
from ..pipelines import LaddPipeline
from ..schedulers import LaddScheduler
from ..tasks import Task
from ..training.sample_drawing import draw_samples
from .bounds import run_bounds
from .identity import circumstances, model_identity, task_identity
from .results import EvaluationResults, Row
from .schedules import evaluated_schedulers, smallest_budget
from .settings import TUNED, EvaluationSettings

# Samples over which the counted operations of a run are averaged: which places a step reveals is random.
_COUNTED_SAMPLES = 16
# Texts that a schedule is tuned on.
_TUNING_TEXTS = 64


def evaluate_pipeline(
    pipeline: LaddPipeline,
    task: Task,
    settings: EvaluationSettings | None = None,
    name: str = "model",
    path: str | Path | None = None,
    accelerator: Accelerator | None = None,
    tell: Callable[[str], None] | None = None,
) -> EvaluationResults:
    """Measures quality, bounds and cost of a pipeline's samples.

    A row holds the scores of the task's judge with standard errors, the evaluations and floating-point operations of a
    sample, its seconds if they are timed, and the bounds on held-out texts of the run that wrote it. The denoiser may
    be any object that keeps the contract of `docs/architecture.md`; bounds need one with `nelbo`.

    Args:
        pipeline: with the model and, for texts, the tokenizer.
        task: data and judge.
        settings: see [`EvaluationSettings`].
        name: of the model in tables.
        path: JSON file, written after each row; if it holds rows of the same evaluation, they are not measured again.
        accelerator: shares samples and texts among its processes, of which the first one judges and writes.
        tell: is called with a line about each row.

    Raises `ValueError` for a file with results of another evaluation.
    """
    settings, accelerator = settings or EvaluationSettings(), accelerator or Accelerator()
    tell = tell if tell is not None and accelerator.is_main_process else _silent
    pipeline.set_progress_bar_config(disable=True)
    texts, others = held_out_texts(task, settings)
    found = EvaluationResults(
        model_identity(pipeline, name),
        task_identity(task),
        settings.data(),
        circumstances(pipeline),
        path=None if path is None else Path(path),
    ).resumed()
    found.path = found.path if accelerator.is_main_process else None
    accelerator.wait_for_everyone()  # all have read the file before the first one writes it
    schedulers = evaluated_schedulers(pipeline, settings, partial(_tuned, pipeline, others, settings))
    own = pipeline.scheduler
    try:
        for schedule, scheduler in schedulers.items():
            pipeline.scheduler = scheduler.for_model(pipeline.model.config)
            for num_steps in settings.budgets:
                if num_steps < smallest_budget(pipeline, scheduler):
                    continue
                for temperature in settings.temperatures:
                    if found.find((schedule, temperature, num_steps)) is None:
                        row = _row(pipeline, task, settings, schedule, num_steps, temperature, texts, accelerator)
                        found.add(row)
                        tell(described(row, task))
        if settings.timing_rounds:
            _time(pipeline, schedulers, settings, found)
    finally:
        pipeline.scheduler = own
    return found


def described(row: Row, task: Task) -> str:
    """Formats a row as a line."""
    main = task.measures[0]
    parts = [f"{row['schedule']}, {row['num_steps']} evaluations, temperature {row['temperature']:g}:"]
    if main.name in row:
        parts.append(f"{main.name} {row[main.name]:.{main.digits}f}")
    parts += [f"{name.replace('_', ' ')} {row[name]:.4f}" for name in ("bound", "marginal_bound") if name in row]
    parts.append(f"{row['flops']:.3g} operations")
    return " ".join(parts)


def _row(
    pipeline: LaddPipeline,
    task: Task,
    settings: EvaluationSettings,
    schedule: str,
    num_steps: int,
    temperature: float,
    texts: list[dict[str, Any]],
    accelerator: Accelerator,
) -> Row:
    """Measures one row; every process has to call it."""
    row: Row = {"schedule": schedule, "temperature": temperature, "num_steps": num_steps}
    generator = torch.Generator().manual_seed(settings.seed)
    count = min(settings.num_samples, _COUNTED_SAMPLES)
    cost = sampling_cost(pipeline, num_steps, count, temperature=temperature, generator=generator)
    row |= {"nfe": cost.nfe, "flops": cost.flops}
    row |= {name: getattr(cost, name) for name in ("latent_flops", "token_flops", "head_flops")}
    drawing = num_steps, settings.num_samples, settings.batch_size, settings.seed, accelerator
    sequences, _ = draw_samples(pipeline.model, pipeline.scheduler, *drawing, temperature=temperature)
    if accelerator.is_main_process:
        row |= dict(task.judge(sequences))
    if texts and temperature == 1:
        row |= run_bounds(pipeline, num_steps, texts, settings, accelerator)
    return row


def _time(
    pipeline: LaddPipeline, schedulers: dict[str, LaddScheduler], settings: EvaluationSettings, found: EvaluationResults
) -> None:
    """Times all rows in turn, and adds their seconds per sample."""
    pipelines = {name: LaddPipeline(pipeline.model, one, pipeline.tokenizer) for name, one in schedulers.items()}
    for one in pipelines.values():
        one.set_progress_bar_config(disable=True)
    rows = [row for row in found.rows if row["schedule"] in pipelines and row["num_steps"] in settings.budgets]
    runs = {
        (row["schedule"], row["temperature"], row["num_steps"]): TimedRun(
            pipelines[row["schedule"]], row["num_steps"], settings.batch_size, row["temperature"]
        )
        for row in rows
    }
    seconds = sampling_seconds(runs, settings.timing_rounds)
    for row, estimate in zip(rows, seconds.values(), strict=True):
        found.add({**row, **estimate.named("seconds")})


def held_out_texts(task: Task, settings: EvaluationSettings) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns held-out examples for the bounds, and others to tune a schedule on: every second one of twice as many."""
    tuning = _TUNING_TEXTS * (TUNED in settings.schedules)
    if not settings.num_texts + tuning:
        return [], []
    rows = list(task.eval_dataset(2 * max(settings.num_texts, tuning), settings.seed))
    return rows[::2][: settings.num_texts], rows[1::2][:tuning]


def _tuned(pipeline: LaddPipeline, texts: list[dict[str, Any]], settings: EvaluationSettings) -> LaddScheduler:
    return tune_schedule(pipeline.model, texts, settings.budgets, num_texts=len(texts), seed=settings.seed)


def _silent(line: str) -> None:
    pass
