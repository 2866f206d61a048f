"""Schedulers of an evaluation, by the names of their schedules."""

from __future__ import annotations

from collections.abc import Callable

from ..pipelines import LaddPipeline
from ..schedulers import LaddJointScheduler, LaddScheduler, LaddSequentialScheduler
from .settings import SAVED, TUNED, EvaluationSettings, schedule_name

_OF_PATHS = {"joint": LaddJointScheduler, "sequential": LaddSequentialScheduler}


def evaluated_schedulers(
    pipeline: LaddPipeline, settings: EvaluationSettings, tuned: Callable[[], LaddScheduler]
) -> dict[str, LaddScheduler]:
    """Returns the schedulers; those of paths have the options of the pipeline's own, as far as they share them.

    Args:
        pipeline: whose scheduler is `saved`.
        settings: names of schedules.
        tuned: function that returns the scheduler for `tuned`, called if that is named.
    """
    own = pipeline.scheduler
    schedulers: dict[str, LaddScheduler] = {}
    for schedule in settings.schedules:
        name = schedule_name(schedule)
        if schedule == SAVED:
            schedulers[name] = own
        elif schedule == TUNED:
            schedulers[name] = tuned()
        elif name in _OF_PATHS:
            schedulers[name] = _OF_PATHS[name].from_config(own.config)
        else:
            schedulers[name] = LaddScheduler.from_config(own.config, path=schedule)
    return schedulers


def smallest_budget(pipeline: LaddPipeline, scheduler: LaddScheduler) -> int:
    """Returns the number of evaluations that the scheduler's path needs at least."""
    return 1 if pipeline.model.config.latent_type == "none" else len(scheduler.path.legs)
