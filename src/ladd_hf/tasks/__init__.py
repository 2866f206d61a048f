"""What is modelled, and how samples of it are judged: data, tokenizer and judge, one task per file."""

from ladd_hf.tasks.base import Judgement, Task
from ladd_hf.tasks.sawtooth import SawtoothTask
from ladd_hf.tasks.text import TextTask

__all__ = ["Judgement", "SawtoothTask", "Task", "TextTask"]
