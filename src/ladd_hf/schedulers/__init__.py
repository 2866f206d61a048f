"""Inference schedules: paths of the time square as diffusers schedulers."""

from .reverse_step import LaddSchedulerOutput
from .scheduling_joint import LaddJointScheduler
from .scheduling_ladd import LaddScheduler
from .scheduling_sequential import LaddSequentialScheduler
from .scheduling_tuned import LaddTunedScheduler

__all__ = [
    "LaddJointScheduler",
    "LaddScheduler",
    "LaddSchedulerOutput",
    "LaddSequentialScheduler",
    "LaddTunedScheduler",
]
