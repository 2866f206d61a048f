"""Seconds of an evaluation's rows, measured in turn."""

from __future__ import annotations

from collections.abc import Mapping

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..metrics.sampling_time import TimedRun, sampling_seconds
from ..pipelines import LaddPipeline
from ..schedulers import LaddScheduler
from .results import EvaluationResults, row_key
from .settings import EvaluationSettings


def time_rows(
    pipeline: LaddPipeline,
    schedulers: Mapping[str, LaddScheduler],
    settings: EvaluationSettings,
    results: EvaluationResults,
    accelerator: Accelerator,
) -> None:
    """Times all rows whose schedules are given, and adds the seconds of a sample.

    The first process does, while the others wait. Rows of other schedules lose seconds of an earlier run, which did not
    take turns with these. Every process has to call it.
    """
    pipelines = {name: LaddPipeline(pipeline.model, one, pipeline.tokenizer) for name, one in schedulers.items()}
    runs = {}
    for row in results.rows:
        if (one := pipelines.get(row["schedule"])) is not None:
            one.set_progress_bar_config(disable=True)
            runs[row_key(row)] = TimedRun(one, row["num_steps"], settings.batch_size, row["temperature"])
    measured = sampling_seconds(runs, settings.timing_rounds) if accelerator.is_main_process else {}
    (seconds,) = broadcast_object_list([measured])
    for row in results.rows:
        for name in ("seconds", "seconds_stderr"):
            row.pop(name, None)
        if row_key(row) in seconds:
            row |= seconds[row_key(row)].named("seconds")
    results.save()
