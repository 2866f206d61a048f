"""The record of how weights were trained and measured, from which a model card is written.

It counts the optimiser steps of the weights, over all calls of `train` and all resumes. A checkpoint has its record
beside the weights, so that results and circumstances stay with the weights they belong to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from transformers.trainer_callback import TrainerState

from .old_records import with_named_stages

RECORD_FILE = "run_record.json"
_STATE_FILE = "trainer_state.json"
_UNKNOWN = "not recorded"


@dataclass
class StageCost:
    """Cost of steps in a stage.

    Attributes:
        stage: its number.
        steps: their number.
        flops: floating-point operations, in all processes.
        seconds: that they took, without evaluations and saving.
    """

    stage: int
    steps: int = 0
    flops: float = 0.0
    seconds: float = 0.0


@dataclass
class Run:
    """A stretch of training under the same circumstances.

    Attributes:
        steps: their number.
        facts: the circumstances, by name; empty if they were not recorded.
        first: number of its first step, from 0, in the run that it is a part of: not 0 after a resume.
        stages: their names and numbers of steps, in order.
        objectives: the objective of each stage, by the number of its first step.
        costs: of the steps, by stage, in order.
    """

    steps: int = 0
    facts: dict[str, str] = field(default_factory=dict)
    first: int = 0
    stages: list[tuple[str, int]] = field(default_factory=list)
    objectives: list[tuple[int, str]] = field(default_factory=list)
    costs: list[StageCost] = field(default_factory=list)

    def first_steps(self, steps: int) -> Run:
        """Returns this stretch cut off after a number of steps, with what they cost, stage by stage."""
        left, costs = steps, []
        for one in self.costs:
            kept = min(one.steps, left)
            if kept > 0:
                share = kept / one.steps
                costs.append(replace(one, steps=kept, flops=share * one.flops, seconds=share * one.seconds))
            left -= kept
        return replace(self, steps=steps, costs=costs)

    def cost_of(self, stage: int) -> StageCost:
        """Returns the cost so far of the present stage, by its number."""
        if not self.costs or self.costs[-1].stage != stage:
            self.costs.append(StageCost(stage))
        return self.costs[-1]


@dataclass
class Measurement:
    """The result of an evaluation.

    Attributes:
        steps: training steps of the weights.
        role: of the data set: `own`, the trainer's; the `training` data; or `other`.
        label: name of the trainer's own set, if it has several; for another set, the prefix of its metrics.
        data: the set's kind or name, and its size.
        identity: identifies its content, if possible.
        nats: per token, by path: of the tokens and of the latents.
        dtype, seed, hardware: of the measurement.
        marginal: nats per token with latents averaged out, by path, and their standard error; empty if not measured.
        marginal_of: the proposals and the run of these, in words.
    """

    steps: int
    role: str
    label: str
    data: str
    identity: str
    nats: dict[str, tuple[float, float]]
    dtype: str
    seed: int
    hardware: str
    marginal: dict[str, tuple[float, float]] = field(default_factory=dict)
    marginal_of: str = ""

    @property
    def set_key(self) -> tuple[str, ...]:
        """Key of the data set: a later evaluation with the same key replaces this one."""
        return (self.role, self.label) if self.role == "own" else (self.role, self.label, self.data, self.identity)


@dataclass
class RunRecord:
    """The history of the weights.

    Attributes:
        steps: number of training steps of the current weights.
        runs: the stretches of training, up to the last step; beyond `steps` if earlier weights were loaded again, as
            the best ones are at the end.
        measurements: in order.
    """

    steps: int = 0
    runs: list[Run] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)

    def begin(self, run: Run) -> None:
        """Starts a stretch of training from the current weights; the record of later ones is dropped."""
        self.runs = list(self.parts())
        self.measurements = [one for one in self.measurements if one.steps <= self.steps]
        self.runs.append(run)

    def count_step(self, seconds: float = 0.0, stage: int = 0) -> None:
        """Counts an optimiser step of a stage, by number, that took some seconds."""
        cost = self.runs[-1].cost_of(stage)
        cost.steps, cost.seconds = cost.steps + 1, cost.seconds + seconds
        self.runs[-1].steps += 1
        self.steps += 1

    def add_flops(self, flops: float, stage: int = 0) -> None:
        """Adds floating-point operations to a stage of the present stretch of training."""
        self.runs[-1].cost_of(stage).flops += flops

    def cost(self) -> tuple[float, float]:
        """Returns the floating-point operations and the seconds of the weights' training."""
        costs = [cost for run in self.parts() for cost in run.costs]
        return sum(cost.flops for cost in costs), sum(cost.seconds for cost in costs)

    @property
    def last_step(self) -> int:
        """Number of the last training step, even if earlier weights were loaded since."""
        return sum(run.steps for run in self.runs)

    def parts(self) -> Iterator[Run]:
        """Yields the stretches of training of the weights, the last one truncated at their step."""
        left = self.steps
        for run in self.runs:
            if left > 0 and run.steps:
                yield run.first_steps(min(run.steps, left))
            left -= run.steps

    def stage_counts(self) -> dict[str, int]:
        """Returns the number of the weights' steps in each stage, as far as it is known."""
        counts = Counter[str]()
        for run in self.parts():
            counts.update(stage_counts(run))
        return dict(counts)

    def current_measurements(self) -> list[Measurement]:
        """Returns the last results on each data set up to the current weights; those of the current weights come
        first."""
        latest: dict[tuple[str, ...], Measurement] = {}
        for one in self.measurements:
            if one.steps <= self.steps:
                latest[one.set_key] = one
        roles = ("own", "other", "training")
        return sorted(latest.values(), key=lambda one: (-one.steps, roles.index(one.role)))

    def save(self, folder: str | Path) -> None:
        """Writes the record to a checkpoint's folder."""
        (Path(folder) / RECORD_FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> RunRecord:
        """Reads a checkpoint's record. For one without it only the number of steps is known.

        Raises `ValueError` for an invalid file.
        """
        path = Path(folder) / RECORD_FILE
        if not path.is_file():
            state = Path(folder) / _STATE_FILE
            steps = TrainerState.load_from_json(str(state)).global_step if state.is_file() else 0
            return cls(steps, [Run(steps)] if steps else [])
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{path} is damaged ({error}): take it away, and the run goes on without what it says of its past."
            ) from error

    @classmethod
    def from_dict(cls, data: Mapping) -> RunRecord:
        """Inverts `asdict`."""
        runs = [
            Run(
                **{
                    **run,
                    "stages": [(name, steps) for name, steps in run["stages"]],
                    "objectives": [(n, text) for n, text in run["objectives"]],
                    "costs": [StageCost(**one) for one in run.get("costs", [])],
                }
            )
            for run in map(with_named_stages, data["runs"])
        ]
        measurements = [
            Measurement(**{**one, **{name: _pairs(one.get(name, {})) for name in ("nats", "marginal")}})
            for one in data["measurements"]
        ]
        return cls(int(data["steps"]), runs, measurements)


def _pairs(given: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, float]]:
    return {path: (first, second) for path, (first, second) in given.items()}


def facts_of(runs: Sequence[Run]) -> dict[str, str]:
    """Returns the circumstances of stretches of training; if they changed, each with its number of steps."""
    names = dict.fromkeys(name for run in runs for name in run.facts)
    told = {name: _told([(run.facts.get(name, _UNKNOWN), run.steps) for run in runs]) for name in names}
    if any(run.objectives for run in runs):
        told["objective"] = _told([(_last_objective(run), run.steps) for run in runs])
    return told


def stage_counts(run: Run) -> dict[str, int]:
    """Returns the number of steps of a stretch in each stage."""
    counts, start, end = Counter[str](), 0, run.first + run.steps
    for place, (name, steps) in enumerate(run.stages):
        stop = end if place == len(run.stages) - 1 else start + steps
        counts[name] += max(min(stop, end) - max(start, run.first), 0)
        start = stop
    return {name: steps for name, steps in counts.items() if steps}


def _last_objective(run: Run) -> str:
    """Returns the objective of its last step."""
    last = run.first + max(run.steps - 1, 0)
    return next((text for start, text in reversed(run.objectives) if start <= last), _UNKNOWN)


def _told(values: list[tuple[str, int]]) -> str:
    """Formats a value; several values with the steps for which each was in force."""
    merged: list[tuple[str, int]] = []
    for value, steps in values:
        if merged and merged[-1][0] == value:
            steps += merged.pop()[1]
        merged.append((value, steps))
    if len(merged) == 1:
        return merged[0][0]
    return ", then ".join(f"{value} ({steps:,} step{'s' * (steps != 1)})" for value, steps in merged)
