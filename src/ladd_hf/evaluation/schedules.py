"""Schedulers of an evaluation, by the names of their schedules."""

from __future__ import annotations

from collections.abc import Callable

from ..pipelines import LaddPipeline
from ..schedulers import LaddScheduler
from .schedule_specs import TUNED, ScheduleSpec
from .settings import EvaluationSettings


def evaluated_schedulers(
    pipeline: LaddPipeline, settings: EvaluationSettings, tuned: Callable[[], LaddScheduler]
) -> dict[str, LaddScheduler]:
    """Returns the schedulers; those of paths have the options of the pipeline's own, as far as they share them.

    Args:
        pipeline: whose scheduler is `saved`.
        settings: names of schedules.
        tuned: function that returns the scheduler for `tuned`, called once if that is named.

    Raises `ValueError` for options that a scheduler does not have.
    """
    found: list[LaddScheduler] = []
    schedulers: dict[str, LaddScheduler] = {}
    for schedule in settings.schedules:
        spec = ScheduleSpec.parsed(schedule)
        if spec.path == TUNED and not found:
            found.append(tuned())
        schedulers[spec.name] = spec.over(found[0] if spec.path == TUNED else pipeline.scheduler)
    return schedulers


def smallest_budget(pipeline: LaddPipeline, scheduler: LaddScheduler) -> int:
    """Returns the number of evaluations that the scheduler's path needs at least."""
    return 1 if pipeline.model.config.latent_type == "none" else len(scheduler.path.legs)
