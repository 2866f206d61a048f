"""Texts that come out of their masks: what the panel shows after each step, of one model or of two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from ..pictures.frames import frames
from ..pictures.trajectory import Trajectory
from ..pipelines.pipeline_ladd import LaddPipeline
from .code_table import code_table
from .coloured import coloured, legend, running
from .live import states
from .models import Models
from .settings import Settings
from .square import square


@dataclass(frozen=True)
class View:
    """State of a run as a panel shows it, in HTML.

    Attributes:
        text: the tokens so far, coloured by step.
        latents: the codes so far, or a bar; empty without latents.
        square: the time square.
        codes: the codes over time; empty for a model without.
        title: the step and its times.
        legend: the colours of the steps.
    """

    text: str
    latents: str
    square: str
    codes: str
    title: str
    legend: str


def views(pipeline: LaddPipeline, **options: Any) -> Iterator[View]:
    """Yields what is shown after each step of a run of one text; `options` are those of the call."""
    latents = pipeline.model.config.latent_type != "none"
    for state in states(pipeline, **options):
        yield view(state, pipeline.tokenizer, latents)


def view(trajectory: Trajectory, tokenizer: Any, latents: bool) -> View:
    """Returns what is shown of the last state of a trajectory; without `latents`, its run is on the axis of tokens."""
    frame = frames(trajectory, tokenizer)[-1]
    steps = frame.num_steps
    return View(
        coloured(running(frame), steps),
        coloured(frame.latents, steps) if frame.latents else "",
        square(trajectory.run, trajectory.num_steps, latents),
        code_table(trajectory, steps),
        frame.title,
        legend(steps),
    )


def side_by_side(models: Models, settings: Settings, steps_beside: int | None) -> Iterator[tuple[View, View | None]]:
    """Yields what is shown after each step of both models, one step of each at a time; the one that is done waits.

    The model beside has `steps_beside` evaluations; `None` leaves it out.
    """
    own = settings.scheduled(models.pipeline)
    runs = [views(own, **settings.options(own))]
    if steps_beside is not None and models.beside is not None:
        runs.append(views(models.beside, **settings.options(models.beside, steps_beside)))
    shown: list[View | None] = [None, None]
    try:
        for step in zip_longest(*runs):
            shown[: len(step)] = [new or old for new, old in zip(step, shown, strict=False)]
            assert shown[0] is not None
            yield shown[0], shown[1]
    finally:
        for run in runs:
            run.close()  # type: ignore[attr-defined]
