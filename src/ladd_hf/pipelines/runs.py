"""Runs of a pipeline as its callbacks see them, each thread's its own.

diffusers keeps what callbacks read and change (`num_timesteps`, `guidance_scale`, `interrupt`) on the pipeline, which
several threads may share here. So a run has an object of its own, and the pipeline's properties are those of the run in
progress in the thread that asks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..utils.wrong_objects import check_number
from .guidance import check_guidance


@dataclass(eq=False)
class Run:
    """State of a run that callbacks may read and change.

    Attributes:
        config: the model's configuration.
        scheduler: its own copy of the pipeline's, with its timesteps.
        num_timesteps: number of its steps.
        guidance_scale: that of the next step.
        interrupt: True if it ends before the next step.
    """

    config: Any = None
    scheduler: Any = None
    num_timesteps: int = 0
    guidance_scale: float = 1.0
    interrupt: bool = False


class Runs:
    """The runs of a pipeline, in any number of threads."""

    def __init__(self) -> None:
        self._own = threading.local()  # its `run`: the thread's in progress, or its last
        self._in_progress: list[Run] = []
        self._latest = Run()

    def __reduce__(self) -> tuple[type[Runs], tuple[()]]:
        return type(self), ()  # a copy of a pipeline has run nothing yet

    @property
    def current(self) -> Run:
        """The run in progress in this thread, or its last; in a thread that has run nothing, the latest of any."""
        run: Run = getattr(self._own, "run", self._latest)
        return run

    @property
    def concerned(self) -> list[Run]:
        """The runs that a change made in this thread is for: its own in progress, or else all that are."""
        in_progress = list(self._in_progress)
        own = [run for run in in_progress if run is getattr(self._own, "run", None)]
        return own or in_progress

    @contextmanager
    def begun(self, run: Run) -> Iterator[Run]:
        """Context of a run, which may be within a callback of another one."""
        outer = getattr(self._own, "run", None)
        self._own.run = self._latest = run
        self._in_progress.append(run)
        try:
            yield run
        finally:
            self._in_progress.remove(run)
            if outer in self._in_progress:
                self._own.run = outer


class RunProperties:
    """Part of a pipeline: properties that diffusers' callbacks read, and change in its runs."""

    _runs: Runs

    @property
    def num_timesteps(self) -> int:
        """Number of steps of the run, 0 before the first one."""
        return self._runs.current.num_timesteps

    @property
    def running_scheduler(self) -> Any:
        """The scheduler of the run, a copy of the pipeline's with the times of this run; `None` before the first one.

        `pipe.scheduler` has the times of the latest run of any pipeline that it belongs to.
        """
        return self._runs.current.scheduler

    @property
    def guidance_scale(self) -> float:
        """Scale w of the guidance on the latents: a callback may set that of the steps to come; 1 is no guidance.

        Set outside of a callback it is that of all runs in progress in other threads. Raises `ValueError` if there are
        none, for anything but a number, and for a model without latents.
        """
        return self._runs.current.guidance_scale

    @guidance_scale.setter
    def guidance_scale(self, scale: float) -> None:
        runs = self._runs.concerned
        if not runs:
            raise ValueError(
                f"`guidance_scale` is set to {scale!r} while nothing runs: give it to the call, as "
                "`pipe(guidance_scale=...)`, or set it in a callback."
            )
        for run in runs:
            check_guidance(scale, run.config)
            run.guidance_scale = scale

    @property
    def _guidance_scale(self) -> float:
        """The name that diffusers' callbacks use. There guidance is off at 1 and below, so these set 1."""
        return self.guidance_scale

    @_guidance_scale.setter
    def _guidance_scale(self, scale: float) -> None:
        check_number("`guidance_scale`", scale)
        self.guidance_scale = max(scale, 1.0)

    @property
    def do_classifier_free_guidance(self) -> bool:
        """True if the steps that write tokens are guided, at twice the cost: the scale is not 1."""
        return self.guidance_scale != 1

    @property
    def interrupt(self) -> bool:
        """True if the run has been told to end before its next step, by `pipe._interrupt = True` as in diffusers.

        In a callback that is its own run, elsewhere every run in progress. What is not written by then stays masked:
        sequences hold the mask token there, texts show it, and latents that are not clean yet are left out.
        """
        return self._runs.current.interrupt

    @property
    def _interrupt(self) -> bool:
        return self.interrupt

    @_interrupt.setter
    def _interrupt(self, interrupt: bool) -> None:
        for run in self._runs.concerned:
            run.interrupt = bool(interrupt)
