"""Tasks: data, tokenizer and judge of samples, one task per file."""

from .base import Judgement, Task
from .sawtooth import SawtoothTask
from .text import TextTask

__all__ = ["Judgement", "SawtoothTask", "Task", "TextTask"]
