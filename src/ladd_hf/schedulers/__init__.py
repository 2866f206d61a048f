"""Inference schedules: paths of the time square as diffusers schedulers."""

from .scheduling_joint import LaddJointScheduler
from .scheduling_sequential import LaddSequentialScheduler
from .scheduling_utils import LaddScheduler, LaddSchedulerOutput

__all__ = ["LaddJointScheduler", "LaddScheduler", "LaddSchedulerOutput", "LaddSequentialScheduler"]
