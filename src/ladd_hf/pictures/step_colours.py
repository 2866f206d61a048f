"""Colours of the steps of a run, from yellow to blue: told apart with any colour vision, and behind black letters."""

from __future__ import annotations

Colour = tuple[int, int, int]

_FIRST, _LAST = (255, 214, 64), (110, 176, 255)


def step_colour(step: int, num_steps: int) -> Colour:
    """Returns the red, green and blue of a step from 1 to `num_steps`, of 255."""
    share = 0.0 if num_steps == 1 else (step - 1) / (num_steps - 1)
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(_FIRST, _LAST, strict=True))
    return red, green, blue
