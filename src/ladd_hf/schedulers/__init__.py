"""Inference schedules: paths of the time square as diffusers schedulers."""

from .scheduling_joint import LaddJointScheduler
from .scheduling_ladd import LaddScheduler, LaddSchedulerOutput
from .scheduling_sequential import LaddSequentialScheduler
from .scheduling_tuned import LaddTunedScheduler

__all__ = [
    "LaddJointScheduler",
    "LaddScheduler",
    "LaddSchedulerOutput",
    "LaddSequentialScheduler",
    "LaddTunedScheduler",
]
