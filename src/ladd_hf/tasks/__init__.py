"""Tasks: data, tokenizer and judges of samples, one task per file; judges by name."""

from .base import Judgement, Measure, Task
from .decoded_texts import DecodedTexts
from .judges import JUDGES, Judge, JudgedData, register_judge
from .sawtooth import SawtoothTask
from .text import TextTask

__all__ = [
    "JUDGES",
    "DecodedTexts",
    "Judge",
    "JudgedData",
    "Judgement",
    "Measure",
    "SawtoothTask",
    "Task",
    "TextTask",
    "register_judge",
]
