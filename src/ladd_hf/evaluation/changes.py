"""Changes from a baseline's score to another one, with their standard errors: over seeds, or by propagation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..metrics import gap_closed
from ..tasks.base import relative_change


@dataclass(frozen=True)
class Score:
    """A score, and its standard error; `None` if it is not known."""

    value: float
    stderr: float | None = None


@dataclass(frozen=True)
class Change:
    """A change from a baseline's score to another one.

    Attributes:
        value: as a share.
        stderr: standard error; `None` if that of one of the scores is not known. Of one training it is propagated to
            first order from the errors of the scores as if they were independent; where samples of the same seeds go
            together, it is too large. Of several it is that of the mean over the seeds.
        by_seed: the change at each seed, `None` where there is none; empty of one training.
    """

    value: float
    stderr: float | None = None
    by_seed: tuple[float | None, ...] = ()


def share_closed(baseline: Score, score: Score, floor: Score) -> Change | None:
    """Returns the share of the baseline's distance to the data's own score, the floor, that is closed; `None` where the
    baseline has no distance."""
    distance = baseline.value - floor.value
    if distance == 0:
        return None
    share = gap_closed(baseline.value, score.value, floor.value)
    slopes = [(baseline, (1 - share) / distance), (score, -1 / distance), (floor, share / distance)]
    return Change(share, _propagated(slopes))


def relative(measure: str, baseline: Score, score: Score) -> Change | None:
    """Returns the relative difference of two scores, of `nats` that of the perplexities; `None` for another measure of
    which the baseline has 0."""
    if baseline.value == 0 and measure != "nats":
        return None
    change = relative_change(measure, baseline.value, score.value)
    unit = 1.0 if measure == "nats" else baseline.value
    slope = (1 + change if measure == "nats" else 1.0) / unit
    return Change(change, _propagated([(baseline, -(1 + change) / unit), (score, slope)]))


def with_seeds(change: Change | None, by_seed: Sequence[Change | None]) -> Change | None:
    """Returns a change of mean scores with the changes at single seeds, and the standard error of the mean of these.

    Where a seed has none, the error is that propagated from the mean scores' own.
    """
    if change is None or not by_seed:
        return change
    values = [None if one is None else one.value for one in by_seed]
    known = [one for one in values if one is not None]
    if len(known) < max(2, len(values)):
        return replace(change, by_seed=tuple(values))
    return Change(change.value, statistics.stdev(known) / math.sqrt(len(known)), tuple(values))


def _propagated(slopes: Sequence[tuple[Score, float]]) -> float | None:
    """Returns the standard error of a function of scores, from its slope in each of them."""
    errors = [None if score.stderr is None else score.stderr * slope for score, slope in slopes]
    known = [one for one in errors if one is not None]
    return math.hypot(*known) if len(known) == len(errors) else None
