"""Numbers of evaluations that samples are drawn with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..utils.number_ranges import COUNT
from ..utils.wrong_objects import described

# Numbers of evaluations at which the advantage of latents shows, unless others are given.
USUAL_BUDGETS = (2, 8)


def checked_budgets(given: Any, name: str) -> list[int]:
    """Returns numbers of evaluations, which may be none. Raises `ValueError` for anything but whole numbers of at least
    1, each once; `name` as the error writes it."""
    accepted = "give whole numbers of denoiser evaluations, each at least 1, such as [2, 8]"
    if isinstance(given, str | bytes) or not isinstance(given, Sequence):
        raise ValueError(f"`{name}` is {described(given)}; {accepted}.")
    if wrong := [one for one in given if one not in COUNT]:
        raise ValueError(f"`{name}` holds {described(wrong[0])}; {accepted}.")
    budgets = [int(one) for one in given]
    if len(set(budgets)) < len(budgets):
        raise ValueError(f"`{name}` is {budgets}, with a number twice; {accepted}.")
    return budgets
