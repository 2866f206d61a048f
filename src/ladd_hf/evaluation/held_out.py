"""Held-out texts of an evaluation: those of the bounds, and others to tune a schedule on."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ..tasks import Task
from .settings import EvaluationSettings

# Texts that a schedule is tuned on.
TUNING_TEXTS = 64


def bound_texts(task: Task, settings: EvaluationSettings) -> list[dict[str, Any]]:
    """Returns the examples of the bounds, which depend on nothing but their number and the seed."""
    return list(task.eval_dataset(settings.num_texts, settings.seed)) if settings.num_texts else []


def path_texts(task: Task, settings: EvaluationSettings) -> list[dict[str, Any]]:
    """Returns the examples of the bounds in continuous time; all of the task's unless their number is given."""
    return model_texts(task, settings) if settings.paths else []


def model_texts(task: Task, settings: EvaluationSettings) -> list[dict[str, Any]]:
    """Returns the examples of what is of the model and of no run: the same, and those of measures."""
    number = task.num_held_out if settings.num_sequences is None else settings.num_sequences
    return list(task.eval_dataset(number, settings.seed)) if number else []


def tuning_texts(task: Task, settings: EvaluationSettings) -> list[dict[str, Any]]:
    """Returns at most 64 examples, spread over the held-out ones, of which each text of the bounds takes out one equal
    to it.

    Raises `ValueError` if the bounds leave fewer than two.
    """
    taken = Counter(map(_content, bound_texts(task, settings)))
    rows, others = list(task.eval_dataset(settings.num_texts + TUNING_TEXTS, settings.seed)), []
    for row in rows:
        if taken[_content(row)]:
            taken[_content(row)] -= 1
        else:
            others.append(row)
    if len(others) < 2:
        raise ValueError(
            f"Of {len(rows)} held-out texts the bounds take {len(rows) - len(others)}, which leaves {len(others)} to "
            "tune a schedule on, where two are needed: give a smaller `num_texts`, or more held-out texts."
        )
    places = np.linspace(0, len(others) - 1, min(TUNING_TEXTS, len(others))).round().astype(int)
    return [others[place] for place in places]


def _content(row: dict[str, Any]) -> tuple[int, ...]:
    """Returns a text's ids without padding."""
    ids = np.asarray(row["input_ids"])
    return tuple(ids[np.asarray(row.get("attention_mask", np.ones_like(ids))) > 0].tolist())
