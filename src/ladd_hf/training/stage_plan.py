"""[`StagePlan`]: the stages of a run in steps, and the stage and objective of each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ..diffusion.objective import TrainingObjective
from .stage_lengths import RunLength, is_share, steps_of
from .stages import Stage

# Fields of a stage that are no part of its objective or its length.
_BESIDE = ("ramps", "freeze", "from_average", "restart_average")


@dataclass(frozen=True)
class StagePlan:
    """Stages, complete and in order, with their first steps; without stages, one stage with the run's objective.

    Attributes:
        stages: at least one.
        length: of the run, as far as it is known.
        settings: of the run's objective.
    """

    stages: tuple[Stage, ...]
    length: RunLength
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, stages: Sequence[Stage], length: RunLength, settings: Mapping[str, Any]) -> StagePlan:
        """Returns the plan of the given stages."""
        return cls(tuple(stage.complete() for stage in stages or (Stage("joint"),)), length, settings)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First step of each stage. Raises `ValueError` for lengths that are not known before the run begins."""
        starts = [0]
        for stage in self.stages[:-1]:
            starts.append(starts[-1] + self._steps(stage))
        return tuple(starts)

    def lengths(self) -> list[tuple[str, int]]:
        """Returns each stage's name and number of steps; the last one has the remaining steps of the run."""
        ends = (*self.starts[1:], max(self.length.steps, self.starts[-1]))
        return [(stage.name, end - start) for stage, start, end in zip(self.stages, self.starts, ends, strict=True)]

    def as_data(self) -> list[dict[str, Any]]:
        """Returns each stage as plain data: its name, first step and number of steps, the settings of its objective
        that are not the default, and its other fields that are set. Raises the error of `starts`."""
        default = asdict(TrainingObjective())
        told = []
        for stage, objective, first, (name, steps) in zip(
            self.stages, self.objectives(), self.starts, self.lengths(), strict=True
        ):
            changed = {key: value for key, value in asdict(objective).items() if value != default[key]}
            rest = {key: value for key, value in stage.as_data().items() if key in _BESIDE and value}
            told.append({"name": name, "first_step": first, "steps": steps, "objective": changed, **rest})
        return told

    def number_at(self, step: int) -> int:
        """Returns the index of the stage of step number `step`, from 0."""
        return sum(start <= step for start in self.starts) - 1

    def at(self, step: int) -> Stage:
        """Returns the stage of step number `step`, from 0."""
        return self.stages[self.number_at(step)]

    def begins(self, step: int) -> bool:
        """True if a stage begins at the step."""
        return step in self.starts

    @property
    def freezes(self) -> bool:
        """True if any stage fixes a part of the model."""
        return any(stage.freeze for stage in self.stages)

    @property
    def frees_encoder(self) -> bool:
        """True if some stages fix the encoder and others train it."""
        frozen = ["encoder" in (stage.freeze or ()) for stage in self.stages]
        trained = [not objective.tokens_alone for objective in self.objectives()]
        return any(frozen) and any(t and not f for f, t in zip(frozen, trained, strict=True))

    def objective_at(self, step: int) -> TrainingObjective:
        """Returns the objective at step number `step`, from 0. Raises `ValueError` for settings it does not accept."""
        number = self.number_at(step)
        stage = self.stages[number]
        options = {**self.settings, **stage.objective}
        for name, ramp in stage.ramps.items():
            if options[name]:
                options[name] *= ramp.factor(step - self.starts[number], self._ramp_steps(number, ramp.steps))
        return TrainingObjective(**options)

    def objectives(self) -> list[TrainingObjective]:
        """Returns each stage's objective, without its ramps; lengths need not be known yet. Raises `ValueError` for
        settings that a stage does not accept, also at the ends of its ramps."""
        for stage in self.stages:
            options = {**self.settings, **stage.objective}
            for end in ("start", "end"):
                scaled = {name: options[name] * getattr(ramp, end) for name, ramp in stage.ramps.items()}
                TrainingObjective(**options), TrainingObjective(**{**options, **scaled})
        return [TrainingObjective(**{**self.settings, **stage.objective}) for stage in self.stages]

    def stated(self, stage: Stage) -> str:
        """Returns a stage's length as given, with the number of steps if it was given otherwise."""
        if stage.epochs is not None:
            return f"{stage.epochs:g} epochs ({self._steps(stage)} steps)"
        assert stage.steps is not None
        return f"{stage.steps:g} ({self._steps(stage)} steps)" if is_share(stage.steps) else f"{stage.steps:g}"

    def _steps(self, stage: Stage) -> int:
        if stage.epochs is not None:
            if not self.length.steps_per_epoch:
                raise ValueError(
                    f"The stage {stage.name!r} has {stage.epochs:g} `epochs`, and how many steps an epoch has is not "
                    "known before the run begins, nor of a stream at all: give it `steps`."
                )
            return max(1, round(stage.epochs * self.length.steps_per_epoch))
        assert stage.steps is not None  # checked by `stages_from`
        if is_share(stage.steps):
            self._check_known(stage, f"`steps` {stage.steps:g}")
        return steps_of(stage.steps, self.length.steps)

    def _ramp_steps(self, number: int, steps: float | None) -> int:
        """Returns the length of a ramp in steps."""
        if is_share(steps) or (steps is None and number == len(self.stages) - 1):
            self._check_known(self.stages[number], "a ramp")
        return self.lengths()[number][1] if steps is None else steps_of(steps, self.length.steps)

    def _check_known(self, stage: Stage, said: str) -> None:
        """Raises `ValueError` for a share of a run whose length is not known yet."""
        if not self.length.steps:
            raise ValueError(
                f"The stage {stage.name!r} has {said}, a share of a run whose number of steps is not known before it "
                "begins: give `max_steps`, or a number of steps."
            )
