"""Pictures of models and their samples, drawn from data: figures of matplotlib, animations, and coloured text."""

from .animation import gif
from .code_frequencies import code_usage_figure
from .latents import latents_figure
from .loss_terms import loss_figure
from .terminal import show
from .time_square import time_square_figure
from .trajectory import Trajectory, TrajectoryRecorder, record

__all__ = [
    "Trajectory",
    "TrajectoryRecorder",
    "code_usage_figure",
    "gif",
    "latents_figure",
    "loss_figure",
    "record",
    "show",
    "time_square_figure",
]
