"""Settings of an evaluation: all that its numbers depend on, besides the model and the task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..diffusion.nelbo import path_of_bound
from ..diffusion.paths import path_data
from ..metrics.model_measures import ModelMeasureSpec, model_measures
from ..utils.number_ranges import COUNT, COUNT_OR_ZERO, NOT_NEGATIVE, POSITIVE, SEED, check_ranges
from .schedule_specs import SAVED, ScheduleSpec, check_names

SETTINGS_RANGES = {
    **dict.fromkeys(("batch_size", "bound_samples"), COUNT),
    **dict.fromkeys(("num_samples", "num_texts", "num_proposals", "num_sequences", "timing_rounds"), COUNT_OR_ZERO),
    "proposal_width": POSITIVE,
    "seed": SEED,
}


@dataclass(frozen=True)
class EvaluationSettings:
    """Settings of an evaluation.

    Attributes:
        budgets: numbers of denoiser evaluations; those too small for a schedule's path are left out.
        schedules: names of paths, or their corners; `saved` for the pipeline's scheduler, `tuned` for one that is tuned
            on texts which are not among those of the bound. Options of the scheduler stand beside the `path` in a
            mapping, such as `{"path": "joint", "token_waiting": "until_known"}`.
        temperatures: of the tokens, times that of a schedule; bounds are those of temperature 1.
        num_samples: samples for each schedule, budget and temperature; 0 measures bounds and cost alone.
        batch_size: samples and texts at once, on which no number but seconds depends.
        num_texts: held-out texts for the bounds; 0 for no bounds.
        bound_samples: points of a run, or of a path, at which a plain bound is estimated for each text.
        num_proposals: proposals K of the marginalised bound; 0 for none.
        paths: of bounds in continuous time, by name or corners; without latents each is that of the tokens.
        measures: of the model itself, such as `code_usage`; see `metrics/model_measures.py`.
        num_sequences: held-out texts for the bounds in continuous time and for the measures; `None` for all that there
            are, 0 for no such bounds.
        proposal_width: spread of the proposals; see `marginal_nelbo`. By default several together, and of continuous
            latents 0.5.
        timing_rounds: rounds in which all runs are timed in turn; 0 for no seconds.
        seed: of samples, bounds and resamples.

    Raises `ValueError` for what is no schedule or no path of a bound, for numbers out of range, for texts of the
    bounds without temperature 1, for proposals without texts, and for a width without proposals.
    """

    budgets: Sequence[int] = (2, 4, 8, 16, 32)
    schedules: Sequence[Any] = (SAVED,)
    temperatures: Sequence[float] = (1.0,)
    num_samples: int = 300
    batch_size: int = 100
    num_texts: int = 0
    bound_samples: int = 8
    num_proposals: int = 0
    paths: Sequence[Any] = ()
    num_sequences: int | None = None
    proposal_width: float | None = None
    timing_rounds: int = 0
    seed: int = 0
    measures: Sequence[ModelMeasureSpec] = ()

    def __post_init__(self) -> None:
        check_ranges(self, SETTINGS_RANGES, optional=("proposal_width", "num_sequences"))
        for name, allowed in (("budgets", COUNT), ("temperatures", NOT_NEGATIVE)):
            values = getattr(self, name)
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise ValueError(f"`{name}` is {values!r}; give a list of numbers.")
            for value in values:
                allowed.check(name, value)
        if isinstance(self.schedules, str) or not isinstance(self.schedules, Sequence) or not self.schedules:
            raise ValueError(f"`schedules` is {self.schedules!r}; give a list, such as ['saved', 'joint', 'tuned'].")
        check_names(ScheduleSpec.parsed(schedule) for schedule in self.schedules)
        if isinstance(self.paths, str) or not isinstance(self.paths, Sequence):
            raise ValueError(f"`paths` is {self.paths!r}; give a list, such as ['joint', 'sequential'].")
        for path in self.paths:
            path_of_bound(path)
        if self.num_texts and not any(value == 1 for value in self.temperatures):
            raise ValueError(
                f"`num_texts` is {self.num_texts}, but bounds are those of temperature 1, and `temperatures` is "
                f"{list(self.temperatures)}: add 1, or give no texts."
            )
        if model_measures(self.measures) and self.num_sequences == 0:
            raise ValueError(
                "`measures` are of held-out texts, and `num_sequences` is 0: give two or more, or leave it out for all."
            )
        if self.num_proposals and not self.num_texts:
            raise ValueError(
                f"`num_proposals` is {self.num_proposals} without texts: give `num_texts` as well, such as 100."
            )
        if self.proposal_width is not None and not self.num_proposals:
            raise ValueError(
                f"`proposal_width` is {self.proposal_width:g} without proposals: give `num_proposals` as well, such as "
                "64."
            )

    def data(self) -> dict[str, Any]:
        """Returns the settings as JSON holds them."""
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        listed["measures"] = [one.name for one in model_measures(self.measures)]
        listed["schedules"] = [ScheduleSpec.parsed(one).data() for one in self.schedules]
        listed["paths"] = [path_data(one) for one in self.paths]
        return listed
