"""Seconds per sample, of several ways to sample that are timed in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch

from ..pipelines import LaddPipeline
from ..utils.number_ranges import COUNT
from .bootstrap import Estimate

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class TimedRun:
    """A way to sample: a pipeline with its scheduler, and its number of evaluations.

    Attributes:
        pipeline: generates the samples.
        num_steps: evaluations of the denoiser.
        batch_size: samples at once.
        temperature: of the tokens.
        length: tokens of a sample; the pipeline's default if not given.
    """

    pipeline: LaddPipeline
    num_steps: int
    batch_size: int
    temperature: float = 1.0
    length: int | None = None

    def __call__(self) -> None:
        """Draws a batch, the same one each time, and waits until it is done."""
        self.pipeline(
            num_steps=self.num_steps,
            batch_size=self.batch_size,
            temperature=self.temperature,
            length=self.length,
            generator=torch.Generator().manual_seed(0),
            output_type="seq",
        )
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()


def sampling_seconds(runs: Mapping[Name, TimedRun], rounds: int = 5) -> dict[Name, Estimate]:
    """Times each run once per round, so that all see the same drifts of the machine's speed.

    Args:
        runs: by name.
        rounds: after a first one that is not counted; their order turns from round to round.

    Returns the median of the seconds per sample, with the standard error of a median under a normal law.
    """
    found = interleaved_seconds(runs, rounds)
    return {name: _median([one / runs[name].batch_size for one in times]) for name, times in found.items()}


def interleaved_seconds(calls: Mapping[Name, Callable[[], object]], rounds: int) -> dict[Name, list[float]]:
    """Returns the seconds that each call took, a number for each round after a first one that is not counted."""
    COUNT.check("rounds", rounds)
    names = list(calls)
    seconds: dict[Name, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        shift = number % max(len(names), 1)
        for name in [*names[shift:], *names[:shift]]:
            start = time.perf_counter()
            calls[name]()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _median(values: list[float]) -> Estimate:
    error = 1.2533 * statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return Estimate(statistics.median(values), error)
