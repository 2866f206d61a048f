"""Results of an evaluation: rows in a JSON file that a later run of the same evaluation goes on with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from .schedule_specs import ScheduleSpec

# Numbers of a schedule, budget and temperature, by name.
Row: TypeAlias = dict[str, Any]
KEY = ("schedule", "temperature", "num_steps")
FORMAT = 1
# Settings that only say which rows, bounds and measures there are, and those that only seconds depend on.
_OF_ROWS = ("budgets", "schedules", "temperatures", "paths", "measures")
_OF_SECONDS = ("batch_size", "timing_rounds")
_OF_TRAINING = ("training",)  # on which no number depends


@dataclass
class EvaluationResults:
    """Results of one model.

    Attributes:
        model: its name, kind, number of parameters and fingerprint of weights, and what its training cost, if that is
            known.
        task: data set, judges and reference: scores of the data itself.
        settings: see `EvaluationSettings`.
        circumstances: dtype, hardware and versions.
        rows: a row for each schedule, temperature and budget.
        bounds: in continuous time, of each path by name: `nats_per_token` with its standard error, its parts
            `token_nats` and `latent_nats`, `perplexity` where it is one, and the number of `texts`.
        measures: by name of a measure of the model itself, its definition, numbers and `scores`, or what the model
            lacks.
        timing: of the run in which the rows took turns to be timed: its identity, rounds and batch size; empty if they
            were not. Seconds of two models compare only if it is the same.
        path: file that is written after each row, or `None`.
    """

    model: dict[str, Any]
    task: dict[str, Any]
    settings: dict[str, Any]
    circumstances: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    timing: dict[str, Any] = field(default_factory=dict)
    bounds: dict[str, Any] = field(default_factory=dict)
    measures: dict[str, dict[str, Any]] = field(default_factory=dict)
    path: Path | None = None

    def find(self, key: tuple[Any, ...]) -> Row | None:
        """Returns the row of a schedule, temperature and number of steps, if it has been measured."""
        return next((row for row in self.rows if row_key(row) == key), None)

    def add(self, row: Row) -> None:
        """Adds a row, or replaces the one with its key, and writes the file."""
        self.rows = [one for one in self.rows if row_key(one) != row_key(row)] + [row]
        self.save()

    def save(self) -> None:
        """Writes the file as a whole, so that a run that is stopped leaves the last complete one."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(self.path.name + ".unfinished")
        unfinished.write_text(json.dumps(self.data(), indent=1) + "\n", encoding="utf-8")
        os.replace(unfinished, self.path)

    def data(self) -> dict[str, Any]:
        """Returns the results as JSON data."""
        names = ("model", "task", "settings", "circumstances", "bounds", "measures", "timing", "rows")
        return {"format": FORMAT, **{name: getattr(self, name) for name in names}}

    @classmethod
    def load(cls, path: str | Path) -> EvaluationResults:
        """Reads a file of results. Raises `ValueError` for any other file."""
        file = Path(path)
        try:
            return replace(cls.of_data(json.loads(file.read_text(encoding="utf-8"))), path=file)
        except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{file} does not hold results of an evaluation ({error}): give a file that one has written."
            ) from error

    @classmethod
    def of_data(cls, data: Mapping[str, Any]) -> EvaluationResults:
        """Returns the results that `data` has given as JSON data. Raises `ValueError`, `KeyError` or `TypeError` for
        other data."""
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r}")
        names = ("model", "task", "settings", "circumstances", "rows")
        parts = {name: data.get(name, {}) for name in ("timing", "bounds", "measures")}
        return cls(**{name: data[name] for name in names}, **parts)

    @property
    def is_timed(self) -> bool:
        """True if rows have seconds."""
        return any("seconds" in row for row in self.rows)

    def resumed(self) -> EvaluationResults:
        """Returns the results with the rows of the file, which these are to continue, if there is one.

        Seconds in the file are kept with their settings, unless rows are to be timed now, which times all of them.
        Raises `ValueError` if the file's are of another model, task or settings, naming the first difference.
        """
        if self.path is None or not self.path.exists():
            return self
        earlier = EvaluationResults.load(self.path)
        if difference := first_difference(earlier, self, of_model=True):
            raise ValueError(
                f"{self.path} holds results with another {difference}: give another file or folder "
                "(--results of the command), or take it away."
            )
        labelled = [{one.name: one for one in _schedules(results)} for results in (earlier, self)]
        for name, spec in labelled[1].items():
            if (other := labelled[0].get(name, spec)).data() != spec.data():
                raise ValueError(
                    f"{self.path} holds results of another schedule with the label {name!r} ({_short(other.data())}, "
                    f"not {_short(spec.data())}): give another label, or another file."
                )
        listed = [one.data() for one in {**labelled[0], **labelled[1]}.values()]
        self.settings |= {"schedules": listed}
        self.model = {**{name: earlier.model[name] for name in _OF_TRAINING if name in earlier.model}, **self.model}
        self.rows, self.timing, self.bounds = earlier.rows, earlier.timing, earlier.bounds
        self.measures = earlier.measures
        if self.is_timed and not self.settings["timing_rounds"]:
            self.settings |= {name: earlier.settings[name] for name in _OF_SECONDS}
        return self


def _schedules(results: EvaluationResults) -> list[ScheduleSpec]:
    return [ScheduleSpec.parsed(one) for one in results.settings.get("schedules", ())]


def row_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Returns what tells a row from the others of its model."""
    return tuple(row[name] for name in KEY)


def first_difference(one: EvaluationResults, other: EvaluationResults, of_model: bool) -> str | None:
    """Returns the first thing, in words, in which two evaluations differ and on which their numbers depend; `None` if
    there is none. Models are compared only if `of_model` is true."""
    free = {"settings": _OF_ROWS + (() if one.is_timed and other.is_timed else _OF_SECONDS), "model": _OF_TRAINING}
    for part in ("task", "settings", "circumstances", *(("model",) if of_model else ())):
        left_out = free.get(part, ())
        mine, theirs = ({k: v for k, v in getattr(x, part).items() if k not in left_out} for x in (one, other))
        if place := _first_place(mine, theirs, ""):
            name, values = place
            return f"`{name}` ({_short(values[0])}, not {_short(values[1])})"
    return None


def _first_place(one: Any, other: Any, name: str) -> tuple[str, tuple[Any, Any]] | None:
    """Returns the name of the first place in which two pieces of JSON data differ, such as `measures[0].name`, and what
    they have there."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        inside = [(f"{name}.{key}".lstrip("."), one.get(key), other.get(key)) for key in {**one, **other}]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        inside = [(f"{name}[{place}]", *pair) for place, pair in enumerate(zip(one, other, strict=True))]
    else:
        return None if one == other else (name, (one, other))
    return next((found for key, mine, theirs in inside if (found := _first_place(mine, theirs, key))), None)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else text[:77] + "..."
