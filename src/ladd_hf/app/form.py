"""Fields that several panels have, and their values as settings."""

from __future__ import annotations

import math
from typing import Any

from ..utils.wrong_objects import described
from .settings import Settings

MOST_STEPS = 64


def whole(name: str, value: Any) -> int:
    """Returns the whole number in a field. Raises `ValueError` for another number, and for nothing."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value != int(value):
        raise ValueError(f"{name} is {described(value)}; give a whole number.")
    return int(value)


def number(name: str, value: str | float | None) -> float | None:
    """Returns the number in a field that may be empty, `None` if it is. Raises `ValueError` for anything else."""
    if value is None or value == "":
        return None
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{name} is {described(value)}; give a number, or nothing for the model's own.") from None


def settings_of(
    prompt: str,
    steps: Any,
    schedule: str,
    temperature: str | float | None,
    latent_temperature: str | float | None,
    guidance: float | None,
    length: str | float | None,
    seed: Any,
) -> Settings:
    """Returns the settings that a form's fields hold; the model has its own for those that are empty.

    Raises `ValueError` for what is no number or out of range.
    """
    tokens = number("The length", length)
    return Settings(
        prompt=prompt or "",
        steps=whole("The number of evaluations", steps),
        schedule=schedule,
        temperature=number("The temperature", temperature),
        latent_temperature=number("The latent temperature", latent_temperature),
        guidance=1.0 if guidance is None else guidance,
        length=None if tokens is None else whole("The length", tokens),
        seed=whole("The seed", seed),
    )


def steps_field(gradio: Any, value: int = 8) -> Any:
    """Returns the field of evaluations."""
    return gradio.Slider(
        1, MOST_STEPS, value, step=1, label="Evaluations", info="of the network, the latents' included"
    )


def seed_field(gradio: Any) -> Any:
    """Returns the field of a seed."""
    return gradio.Number(0, label="Seed", precision=0, info="the same one gives the same text")


def own_field(gradio: Any, label: str, value: str = "", visible: bool = True) -> Any:
    """Returns the field of a number that the model has its own for."""
    return gradio.Textbox(value, label=label, placeholder="the model's own", visible=visible)
