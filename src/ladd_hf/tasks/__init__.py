"""Tasks: data, tokenizer and judge of samples, one task per file."""

from .base import Judgement, Measure, Task
from .sawtooth import SawtoothTask
from .text import TextTask

__all__ = ["Judgement", "Measure", "SawtoothTask", "Task", "TextTask"]
