"""A scheduler with another path or another waiting, and its other options."""

from __future__ import annotations

from .scheduling_joint import LaddJointScheduler
from .scheduling_ladd import LaddScheduler
from .scheduling_sequential import LaddSequentialScheduler

SCHEDULERS = {"joint": LaddJointScheduler, "sequential": LaddSequentialScheduler}  # others are paths as data


def rescheduled(scheduler: LaddScheduler, path: str | None = None, token_waiting: str | None = None) -> LaddScheduler:
    """Returns a scheduler along `path` whose tokens wait as `token_waiting` says; what is `None` stays as it is.

    `path` is a name or corners as JSON. Raises `ValueError` for what is neither, and for an unknown waiting.
    """
    if path is not None:
        kind = SCHEDULERS.get(path, LaddScheduler)
        scheduler = kind.from_config(scheduler.config, **({"path": path} if kind is LaddScheduler else {}))
    if token_waiting is not None:
        scheduler = type(scheduler).from_config(scheduler.config, token_waiting=token_waiting)
    return scheduler
