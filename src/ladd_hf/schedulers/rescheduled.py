"""A scheduler with another path or other options, and else its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..diffusion.paths import path_name
from .scheduling_joint import LaddJointScheduler
from .scheduling_ladd import LaddScheduler
from .scheduling_sequential import LaddSequentialScheduler

# Schedulers of paths by name; others are of paths as data.
_OF_PATHS = {"joint": LaddJointScheduler, "sequential": LaddSequentialScheduler}


def kind_of(path: Any, options: Mapping[str, Any] | None = None) -> type[LaddScheduler]:
    """Returns the class of the scheduler of a path, a name or corners; with `steps` of each leg that of any path."""
    return LaddScheduler if "steps" in (options or {}) else _OF_PATHS.get(path_name(path), LaddScheduler)


def rescheduled(scheduler: LaddScheduler, path: Any = None, **options: Any) -> LaddScheduler:
    """Returns a scheduler along `path`, if one is given, with these options, and else its own.

    `path` is a name or corners, as data or as JSON. Raises `ValueError` for what is neither, and for options that a
    scheduler does not take.
    """
    if path is None and not options:
        return scheduler
    kind = type(scheduler) if path is None else kind_of(path, options)
    along = {"path": path} if path is not None and kind is LaddScheduler else {}
    found: LaddScheduler = kind.from_config(scheduler.config, **along, **options)
    return found
