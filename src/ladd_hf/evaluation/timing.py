"""Seconds of evaluations' rows, measured in turn: of one model or of several."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..metrics.sampling_time import TimedRun, sampling_seconds
from ..pipelines import LaddPipeline
from ..schedulers import LaddScheduler
from .results import EvaluationResults, row_key
from .settings import EvaluationSettings


@dataclass
class Measured:
    """A model whose rows are measured, but for their seconds.

    Attributes:
        pipeline: that wrote the samples.
        schedulers: of its schedules, by name.
        results: the rows.
        length: tokens of a sample, if not the pipeline's default.
    """

    pipeline: LaddPipeline
    schedulers: Mapping[str, LaddScheduler]
    results: EvaluationResults
    length: int | None = None


def time_rows(models: Sequence[Measured], settings: EvaluationSettings, accelerator: Accelerator) -> None:
    """Times all rows of all models whose schedules are given, each once per round, and adds the seconds of a sample.

    Nothing is timed if all of these rows have taken turns already, under the same settings. Else all are timed anew,
    and rows of other schedules lose seconds of the earlier run, which did not take turns with these. The first process
    times, while the others wait. Every process has to call it.
    """
    if not settings.timing_rounds or _have_taken_turns(models, settings):
        return
    runs = {}
    for number, one in enumerate(models):
        pipelines = {
            name: LaddPipeline(one.pipeline.model, scheduler, one.pipeline.tokenizer)
            for name, scheduler in one.schedulers.items()
        }
        for row in one.results.rows:
            if (pipeline := pipelines.get(row["schedule"])) is not None:
                pipeline.set_progress_bar_config(disable=True)
                temperature = row["temperature"] * pipeline.scheduler.config.get("temperature", 1.0)
                timed = TimedRun(pipeline, row["num_steps"], settings.batch_size, temperature, one.length)
                runs[number, row_key(row)] = timed
    measured = sampling_seconds(runs, settings.timing_rounds) if accelerator.is_main_process else {}
    found, run = broadcast_object_list([measured, secrets.token_hex(8)])
    for number, one in enumerate(models):
        one.results.timing = {"run": run, "rounds": settings.timing_rounds, "batch_size": settings.batch_size}
        for row in one.results.rows:
            for name in ("seconds", "seconds_stderr"):
                row.pop(name, None)
            if (seconds := found.get((number, row_key(row)))) is not None:
                row |= seconds.named("seconds")
        one.results.save()


def _have_taken_turns(models: Sequence[Measured], settings: EvaluationSettings) -> bool:
    """True if the rows of all models were timed together as the settings say."""
    timings = [one.results.timing for one in models]
    asked = settings.timing_rounds, settings.batch_size
    alike = all(one == timings[0] and (one.get("rounds"), one.get("batch_size")) == asked for one in timings)
    rows = [row for one in models for row in one.results.rows if row["schedule"] in one.schedulers]
    return alike and all("seconds" in row for row in rows)
