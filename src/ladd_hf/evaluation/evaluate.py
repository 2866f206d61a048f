"""The evaluation of a pipeline: each schedule, temperature and budget in turn, a row of numbers for each."""

from __future__ import annotations

import re
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
from ..utils.time_left import TimeLeft
from .absent_bounds import why_no_bound
from .bounds import bound_paths, path_bounds, run_bounds
from .held_out import bound_texts, path_texts, tuning_texts
from .identity import not_yet_measured
from .model_scores import measure_model
from .results import EvaluationResults, Row
from .schedules import evaluated_schedulers, smallest_budget
from .settings import EvaluationSettings
from .timing import Measured, time_rows

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
    training_cost: Mapping[str, Any] | None = None,
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
        training_cost: of the model, to stand in its results, such as `trainer.training_cost`.

    Raises `ValueError` for a file with results of another evaluation, and for budgets that are too small for every
    schedule.
    """
    settings, accelerator = settings or EvaluationSettings(), accelerator or Accelerator()
    measured = measure(pipeline, task, settings, name, path, accelerator, tell, training_cost)
    time_rows([measured], settings, accelerator)
    return measured.results


def evaluate_pipelines(
    pipelines: Mapping[str, LaddPipeline],
    task: Task,
    settings: EvaluationSettings | None = None,
    folder: str | Path | None = None,
    accelerator: Accelerator | None = None,
    tell: Callable[[str], None] | None = None,
) -> list[EvaluationResults]:
    """Measures several pipelines at hand on one task, by name; see [`evaluate_pipeline`].

    If rows are timed, those of all pipelines take turns, so that their seconds compare. `folder` gets `<name>.json` of
    each.
    """
    settings, accelerator = settings or EvaluationSettings(), accelerator or Accelerator()
    measured = []
    for name, pipeline in pipelines.items():
        path = None if folder is None else Path(folder) / f"{file_name(name)}.json"
        measured.append(measure(pipeline, task, settings, name, path, accelerator, tell, None))
    time_rows(measured, settings, accelerator)
    return [one.results for one in measured]


def file_name(name: str) -> str:
    """Returns a model's name as that of a file, without its ending."""
    return re.sub("[^A-Za-z0-9._-]+", "-", name)


def measure(
    pipeline: LaddPipeline,
    task: Task,
    settings: EvaluationSettings,
    name: str,
    path: str | Path | None,
    accelerator: Accelerator,
    tell: Callable[[str], None] | None,
    training_cost: Mapping[str, Any] | None,
) -> Measured:
    """Measures all numbers of the rows but their seconds, for which models take turns; see [`evaluate_pipeline`]."""
    tell = tell if tell is not None and accelerator.is_main_process else _silent
    pipeline.set_progress_bar_config(disable=True)
    texts = bound_texts(task, settings)
    found = not_yet_measured(pipeline, task, settings, name, path).resumed()
    if training_cost:
        found.model["training"] = dict(training_cost)
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
    paths = {path: spec for path, spec in bound_paths(pipeline, settings).items() if path not in found.bounds}
    for path, bound in path_bounds(pipeline, path_texts(task, settings) if paths else [], paths, settings, accelerator):
        found.bounds[path] = bound
        found.save()
        tell(f"bound along {path}: {bound['nats_per_token']:.4f} nats per token")
    measure_model(pipeline, task, settings, found, accelerator, tell)
    rows = [
        (schedule, temperature, num_steps)
        for schedule in schedulers
        for num_steps in settings.budgets
        if num_steps >= needed[schedule]
        for temperature in settings.temperatures
    ]
    rows = [row for row in rows if found.find(row) is None]
    own, clock = pipeline.scheduler, TimeLeft(sum(num_steps for _, _, num_steps in rows))
    try:
        for schedule, temperature, num_steps in rows:
            pipeline.scheduler = schedulers[schedule].for_model(pipeline.model.config)
            numbers = _measured(pipeline, task, settings, num_steps, temperature, texts, accelerator)
            row = {"schedule": schedule, "temperature": temperature, "num_steps": num_steps, **numbers}
            found.add(row)
            tell(f"{described(row, task)} ({clock.after(num_steps):.0f} s left for {name})")
            if texts and temperature == 1 and not {"bound", "marginal_bound"} & numbers.keys():
                tell(f"  without a bound: {why_no_bound(pipeline, settings)}")
    finally:
        pipeline.scheduler = own
    return Measured(pipeline, schedulers, found, drawing_options(pipeline, task, 1.0).get("length"))


def described(row: Row, task: Task) -> str:
    """Formats a row as a line."""
    main = task.measures[0]
    factor = "" if row["temperature"] == 1 else f", {row['temperature']:g} times its temperature"
    parts = [f"{row['schedule']}, {row['num_steps']} evaluations{factor}:"]
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
    generator, options = torch.Generator().manual_seed(settings.seed), drawing_options(pipeline, task, temperature)
    cost = sampling_cost(pipeline, num_steps, _COUNTED_SAMPLES, generator=generator, **options)
    numbers = {name: getattr(cost, name) for name in ("nfe", "flops", "latent_flops", "token_flops", "head_flops")}
    if settings.num_samples:
        drawing = num_steps, settings.num_samples, settings.batch_size, settings.seed, accelerator
        sequences, _ = draw_samples(pipeline.model, pipeline.scheduler, *drawing, **options)
        (scores,) = broadcast_object_list([dict(task.judge(sequences)) if accelerator.is_main_process else {}])
        numbers |= scores
    if texts and temperature == 1:
        numbers |= run_bounds(pipeline, num_steps, texts, settings, accelerator)
    return numbers


def drawing_options(pipeline: LaddPipeline, task: Task, temperature: float) -> dict[str, Any]:
    """Returns the options of the pipeline's call that draw samples for a task: they have the length of its texts.

    Raises `ValueError` for a task that is shorter than the model's texts, where these have lengths of their own.
    """
    own: float = pipeline.scheduler.config.get("temperature", 1.0)
    config, options = pipeline.model.config, {"temperature": temperature * own}
    if task.length == config.max_position_embeddings:
        return options
    if getattr(config, "text_lengths", None) is not None:
        raise ValueError(
            f"The task's texts have {task.length} tokens, and the model's are drawn with lengths of up to "
            f"{config.max_position_embeddings}: give no `length`."
        )
    return {**options, "length": task.length}


def _silent(line: str) -> None:
    pass
