"""One side of the time square as numbers: the times at which a channel's losses are measured, and points between them.

Along a side the bound of a step is the channel's loss at the step's start times the rise of its *progress*: alpha(t) of
a masked channel, half the signal-to-noise ratio of continuous latents. So progress is all that has to be known of a
noise schedule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .continuous_latents import ContinuousLatents

Numbers = NDArray[np.float64]

_PARTS = 8  # points of an axis from one measured time to the next
_BISECTIONS = 60  # each halves the error of a time


class _Channel(Protocol):
    def progress(self, t: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class _Coarse:
    """A channel of continuous latents of which no more is asked than latents with noise of a width."""

    channel: _Channel
    width: float

    def progress(self, t: Tensor) -> Tensor:
        return self.channel.progress(t).clamp(max=0.5 / self.width**2)


@dataclass(frozen=True, eq=False)
class TimeAxis:
    """Times of a channel, from its noisy end to 0.

    Attributes:
        times: `(n,)`, strictly falling; the last is 0.
        progress: `(n,)`, the channel's progress at these times.
        measured: `(g,)` places in `times` at which losses are measured, the first and the last among them.
        gaussian: True for continuous latents, False for a masked channel.

    Raises `ValueError` for anything else.
    """

    times: Numbers
    progress: Numbers
    measured: NDArray[np.int64]
    gaussian: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("times", np.float64), ("progress", np.float64), ("measured", np.int64)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=kind))
        places, last = self.measured, len(self.times) - 1
        falls = self.times.ndim == 1 and last >= 0 and self.times[-1] == 0 and (np.diff(self.times) < 0).all()
        rises = self.progress.shape == self.times.shape and (np.diff(self.progress) >= 0).all()
        whole = (
            places.ndim == 1 and places.size and (places[0], places[-1]) == (0, last) and (np.diff(places) > 0).all()
        )
        if not (falls and rises and whole and np.isfinite(self.progress).all()):
            raise ValueError(
                "The times of a table do not fall to 0, or their progress does not rise: give a table as "
                "`tune_schedule` makes it, for noise schedules without jumps."
            )

    @classmethod
    def of(cls, channel: _Channel, cells: int, width: float = 0.0) -> TimeAxis:
        """Returns the axis of a channel from time 1 with `cells + 1` measured times.

        They are even in a coordinate that is steep where losses bend most, which is where little is known. Of a masked
        channel that is arccos(1 - alpha) 2 / pi, in which half of the times see less than 30% of the channel. Of
        continuous latents it is the mean of the same of a(t)^2, and of log(1 + signal-to-noise ratio), in which the
        best steps of a Gaussian are even.

        Continuous latents need not be known more finely than with noise of `width` times their signal: their progress
        ends there.
        """
        gaussian = isinstance(channel, ContinuousLatents)
        channel = _Coarse(channel, width) if gaussian and width else channel
        places = torch.linspace(0, 1, cells * _PARTS + 1, dtype=torch.float64)
        times = _times_at(places, _coordinate(channel, gaussian))
        progress = channel.progress(times)
        return cls(times.numpy(), progress.numpy(), np.arange(0, len(times), _PARTS), gaussian)

    def fits(self, channel: _Channel) -> bool:
        """True if a channel has this progress at these times, as far as it goes here."""
        progress = channel.progress(torch.from_numpy(self.times.copy())).numpy()
        progress = progress.clip(max=self.progress[-1]) if self.gaussian else progress
        return bool(np.allclose(progress, self.progress, rtol=1e-6, atol=1e-9))

    @classmethod
    def clean(cls) -> TimeAxis:
        """Returns the axis of latents that are given or do not exist: time 0 alone."""
        return cls(np.zeros(1), np.zeros(1), np.zeros(1, dtype=np.int64))

    @classmethod
    def parsed(cls, data: Mapping[str, Any]) -> TimeAxis:
        """Returns the axis that `data` wrote."""
        return cls(data["times"], data["progress"], data["measured"], bool(data["gaussian"]))

    def data(self) -> dict[str, Any]:
        """Returns the axis as JSON data."""
        numbers = {name: getattr(self, name).tolist() for name in ("times", "progress", "measured")}
        return {**numbers, "gaussian": self.gaussian}

    @property
    def measured_times(self) -> Numbers:
        """Times at which losses are measured, `(g,)`."""
        return self.times[self.measured]

    @property
    def limits(self) -> Numbers:
        """The measured times, `(g,)`, but for the last one: a time near it, since at time 0 nothing is to be learnt."""
        return np.append(self.measured_times[:-1], self.times[-2:].max())

    def places_between(self, parts: int) -> Numbers:
        """Returns places in `times`: the measured ones, and those that divide each gap in about `parts`."""
        gaps = zip(self.measured[:-1], self.measured[1:], strict=True)
        inner = [np.linspace(start, end, parts + 1).round() for start, end in gaps]
        return np.unique(np.concatenate([self.measured.astype(np.float64), *inner]))

    def times_at(self, places: Numbers) -> Numbers:
        """Returns the times of fractional places, linear between points."""
        return np.interp(places, np.arange(len(self.times)), self.times)

    def progress_at(self, places: Numbers) -> Numbers:
        """Returns the progress at fractional places."""
        return np.interp(places, np.arange(len(self.times)), self.progress)

    def places_of(self, times: Numbers) -> Numbers:
        """Returns the fractional places of times; those above the axis's first are its first."""
        return np.interp(
            -np.asarray(times, dtype=np.float64), -self.times, np.arange(len(self.times), dtype=np.float64)
        )

    def weights(self, places: Numbers) -> Numbers:
        """Returns the weights `(n, g)` that interpolate losses at the measured times to `(n,)` fractional places.

        Losses are taken as linear in the share that is clean: alpha(t), or a(t)^2.
        """
        knots, shares = self._shares(self.progress[self.measured]), self._shares(self.progress_at(places))
        return np.stack([np.interp(shares, knots, one) for one in np.eye(len(knots))], axis=1)

    def from_time(self, time: float) -> tuple[TimeAxis, Numbers]:
        """Returns the axis that starts at `time`, and the weights `(g', g)` of the present losses in its own."""
        start = self.places_of(np.array([time]))  # fractional
        later = np.arange(len(self.times))[self.times < time]
        places = np.concatenate([start, later.astype(np.float64)])
        measured = np.concatenate([[0], 1 + np.flatnonzero(np.isin(later, self.measured))])
        axis = TimeAxis(self.times_at(places), self.progress_at(places), measured, self.gaussian)
        return axis, self.weights(places[measured])

    def _shares(self, progress: Numbers) -> Numbers:
        return 2 * progress / (1 + 2 * progress) if self.gaussian else progress


def _coordinate(channel: _Channel, gaussian: bool) -> Callable[[Tensor], Tensor]:
    """Returns the function of time, from 0 at time 1 to 1 at time 0, in which the measured times are even."""

    def angle(share: Tensor) -> Tensor:
        return torch.arccos((1 - share).clamp(0, 1)) * (2 / math.pi)

    def normalised(values: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
        noisy, clean = values(torch.ones_like(t)), values(torch.zeros_like(t))
        return (values(t) - noisy) / (clean - noisy)

    def log_ratio(t: Tensor) -> Tensor:
        return (2 * channel.progress(t)).log1p()

    def signal(t: Tensor) -> Tensor:
        return 2 * channel.progress(t) / (1 + 2 * channel.progress(t))

    if gaussian:
        return lambda t: (angle(normalised(signal, t)) + normalised(log_ratio, t)) / 2
    return lambda t: angle(normalised(channel.progress, t))


def _times_at(places: Tensor, coordinate: Callable[[Tensor], Tensor]) -> Tensor:
    """Inverts a coordinate that rises as time falls, by bisection; its ends are the times 1 and 0."""
    noisy, clean = torch.ones_like(places), torch.zeros_like(places)
    for _ in range(_BISECTIONS):
        middle = (noisy + clean) / 2
        early = coordinate(middle) < places  # still too noisy
        noisy, clean = torch.where(early, middle, noisy), torch.where(early, clean, middle)
    times = (noisy + clean) / 2
    times[0], times[-1] = 1.0, 0.0
    return times
