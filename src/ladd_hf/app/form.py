"""Fields that several panels have, and their values as settings."""

from __future__ import annotations

from typing import Any

from ..utils.wrong_objects import described
from .settings import Settings

MOST_STEPS = 64


def whole(name: str, value: Any) -> int:
    """Returns the whole number in a field. Raises `ValueError` for another number, and for nothing."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError(f"{name} is {described(value)}; give a whole number.")
    return int(value)


def settings_of(
    prompt: str,
    steps: Any,
    schedule: str,
    temperature: float | None,
    latent_temperature: float | None,
    guidance: float | None,
    length: Any,
    seed: Any,
) -> Settings:
    """Returns the settings that a form's fields hold; those that are empty or 0 where that is no value are the model's.

    Raises `ValueError` for what is out of range.
    """
    return Settings(
        prompt=prompt or "",
        steps=whole("Evaluations", steps),
        schedule=schedule,
        temperature=temperature,
        latent_temperature=latent_temperature,
        guidance=1.0 if guidance is None else guidance,
        length=None if not length else whole("The length", length),
        seed=whole("The seed", seed),
    )


def steps_field(gradio: Any, value: int = 8) -> Any:
    """Returns the field of evaluations."""
    return gradio.Slider(
        1, MOST_STEPS, value, step=1, label="Evaluations", info="of the network, the latents' included"
    )


def seed_field(gradio: Any) -> Any:
    """Returns the field of a seed."""
    return gradio.Number(0, label="Seed", precision=0, minimum=0, info="the same one gives the same text")


def temperature_field(gradio: Any, label: str, value: float | None = None) -> Any:
    """Returns the field of a temperature."""
    return gradio.Number(value, label=label, minimum=0, step=0.1, info="empty: the model's own; 0: the likeliest")
