"""The evaluation of a pipeline: each schedule, temperature and budget in turn, a row of numbers for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..metrics import sampling_cost, tune_schedule
from ..pipelines import LaddPipeline
from ..schedulers import LaddScheduler
from ..tasks import Task
from ..training.sample_drawing import draw_samples
from .bounds import run_bounds
from .held_out import bound_texts, tuning_texts
from .identity import not_yet_measured
from .model_scores import measure_model
from .results import EvaluationResults, Row
from .schedules import evaluated_schedulers, smallest_budget
from .settings import EvaluationSettings
from .timing import time_rows

# Samples over which the counted operations of a run are averaged: which places a step reveals is random.
_COUNTED_SAMPLES = 16


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
    sample, its seconds if they are timed, and the bounds on held-out texts of the run that wrote it; beside the rows
    stand the measures of the model itself. The denoiser may be any object that keeps the contract of
    `docs/architecture.md`; bounds need one with `nelbo`.

    Args:
        pipeline: with the model and, for texts, the tokenizer.
        task: data and judge.
        settings: see [`EvaluationSettings`].
        name: of the model in tables.
        path: JSON file, written after each row; if it holds rows of the same evaluation, they are not measured again.
        accelerator: shares samples and texts among its processes, of which the first one judges, times and writes; all
            return the same.
        tell: is called with a line about each row.

    Raises `ValueError` for a file with results of another evaluation, and for budgets that are too small for every
    schedule.
    """
    settings, accelerator = settings or EvaluationSettings(), accelerator or Accelerator()
    tell = tell if tell is not None and accelerator.is_main_process else _silent
    pipeline.set_progress_bar_config(disable=True)
    texts = bound_texts(task, settings)
    found = not_yet_measured(pipeline, task, settings, name, path).resumed()
    found.path = found.path if accelerator.is_main_process else None
    accelerator.wait_for_everyone()  # all have read the file before the first one writes it

    def tuned() -> LaddScheduler:
        others = tuning_texts(task, settings)
        return tune_schedule(pipeline.model, others, budgets=(), num_texts=len(others), seed=settings.seed)

    schedulers = evaluated_schedulers(pipeline, settings, tuned)
    needed = {schedule: smallest_budget(pipeline, scheduler) for schedule, scheduler in schedulers.items()}
    if max(settings.budgets) < min(needed.values()):
        raise ValueError(
            f"`budgets` are {list(settings.budgets)}, too few for any of the schedules: give {min(needed.values())} or "
            "more evaluations."
        )
    measure_model(pipeline, settings, texts, found, accelerator, tell)
    own = pipeline.scheduler
    try:
        for schedule, scheduler in schedulers.items():
            pipeline.scheduler = scheduler.for_model(pipeline.model.config)
            for num_steps in settings.budgets:
                if num_steps < needed[schedule]:
                    continue
                for temperature in settings.temperatures:
                    if found.find((schedule, temperature, num_steps)) is None:
                        numbers = _measured(pipeline, task, settings, num_steps, temperature, texts, accelerator)
                        row = {"schedule": schedule, "temperature": temperature, "num_steps": num_steps, **numbers}
                        found.add(row)
                        tell(described(row, task))
        if settings.timing_rounds:
            time_rows(pipeline, schedulers, settings, found, accelerator)
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


def _measured(
    pipeline: LaddPipeline,
    task: Task,
    settings: EvaluationSettings,
    num_steps: int,
    temperature: float,
    texts: Sequence[Mapping[str, Any]],
    accelerator: Accelerator,
) -> dict[str, float]:
    """Returns the numbers of a row but for its seconds; every process has to call it, and all get the same."""
    generator = torch.Generator().manual_seed(settings.seed)
    cost = sampling_cost(pipeline, num_steps, _COUNTED_SAMPLES, temperature=temperature, generator=generator)
    numbers = {name: getattr(cost, name) for name in ("nfe", "flops", "latent_flops", "token_flops", "head_flops")}
    if settings.num_samples:
        drawing = num_steps, settings.num_samples, settings.batch_size, settings.seed, accelerator
        sequences, _ = draw_samples(pipeline.model, pipeline.scheduler, *drawing, temperature=temperature)
        (scores,) = broadcast_object_list([dict(task.judge(sequences)) if accelerator.is_main_process else {}])
        numbers |= scores
    if texts and temperature == 1:
        numbers |= run_bounds(pipeline, num_steps, texts, settings, accelerator)
    return numbers


def _silent(line: str) -> None:
    pass
