"""A run beside the baseline at its cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .changes import Change


@dataclass(frozen=True)
class EqualCost:
    """A run, and the baseline at its cost.

    Attributes:
        num_steps: evaluations of the run.
        cost: of a sample.
        score: of its samples.
        baseline: score of the baseline at this cost; `None` where it has no runs on both sides of it.
        beyond: in which direction the baseline has none: `below` its cheapest run, or `above` its dearest.
        score_stderr: standard error of the score, if it is known.
        baseline_stderr: standard error of the baseline's score. Between two of its runs the score is (1 - w) a + w b,
            and the error (1 - w) of a's and w of b's: the largest that there may be, since samples of two runs share
            their seeds, so that their errors are not independent. `None` if one of the two is not known.
        change: from the baseline's score to the run's, as `Comparison.change` has it; `None` without a baseline there.
        closed: share of the baseline's distance to the data's own score that is closed; `None` where that score is not
            known. If the judge is exact, it is the change.
    """

    num_steps: int
    cost: float
    score: float
    baseline: float | None
    beyond: Literal["below", "above"] | None
    score_stderr: float | None = None
    baseline_stderr: float | None = None
    change: Change | None = None
    closed: Change | None = None

    def data(self) -> dict[str, Any]:
        """Returns the numbers as JSON data; of a change its value, error, and values by seed, if there are several."""
        names = ("num_steps", "cost", "score", "baseline", "beyond", "score_stderr", "baseline_stderr")
        data: dict[str, Any] = {name: getattr(self, name) for name in names}
        for name in ("change", "closed"):
            found: Change | None = getattr(self, name)
            data |= {name: found and found.value, f"{name}_stderr": found and found.stderr}
            if found is not None and found.by_seed:
                data[f"{name}_by_seed"] = list(found.by_seed)
        return data


def interpolated(points: Sequence[tuple[float, float | None]], cost: float) -> float | None:
    """Returns the number at a cost above 0, linear in the cost's logarithm between points that are ordered by cost;
    `None` beyond them, and where a number that it depends on is `None`."""
    exact = next(((number,) for known, number in points if known == cost), None)
    if exact is not None:
        return exact[0]
    for (low, before), (high, after) in itertools.pairwise(points):
        if low < cost < high and before is not None and after is not None:
            return before + math.log(cost / low) / math.log(high / low) * (after - before)
    return None
