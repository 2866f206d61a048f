"""Schedules of an evaluation as data: `saved`, `tuned` or a path, alone or with options of the scheduler."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..diffusion.paths import path_data, path_name
from ..schedulers import LaddScheduler
from ..schedulers.rescheduled import kind_of, rescheduled

# Schedules that are no paths: the pipeline's own scheduler, and one tuned on the task's held-out texts.
SAVED, TUNED = "saved", "tuned"


@dataclass(frozen=True)
class ScheduleSpec:
    """A schedule.

    Attributes:
        path: `saved`, `tuned`, or a path by name or corners.
        options: of the scheduler, instead of those of the pipeline's own.
        label: its name in tables; if not given, the path's, with the options.
    """

    path: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str | None = None

    @classmethod
    def parsed(cls, given: Any) -> ScheduleSpec:
        """Returns the schedule of a name, of corners, or of a mapping of `path` (by default `saved`), options and
        perhaps a `label`.

        Raises `ValueError` for what is no path, for a label that is no text, and for options that its scheduler does
        not have or take; those of `saved` and `tuned` are checked by `over`.
        """
        options = dict(given) if isinstance(given, Mapping) else {}
        path = options.pop("path", SAVED) if isinstance(given, Mapping) else given
        label = options.pop("label", None)
        if label is not None and (not isinstance(label, str) or not label.strip()):
            raise ValueError(f"`label` of a schedule is {label!r}; give a name for tables, or leave it out.")
        if path in (SAVED, TUNED):
            return cls(path, options, label)
        spec = cls(path_data(path), options, label)
        accepted = [name for name in inspect.signature(spec.kind).parameters if name not in _NOT_OPTIONS]
        if unknown := [name for name in options if name not in accepted]:
            raise ValueError(
                f"The schedule {spec.name!r} has an option {unknown[0]!r}, which its scheduler does not take; give "
                f"some of {', '.join(map(repr, accepted))}."
            )
        spec.built({})  # raises for values
        return spec

    def built(self, options: Mapping[str, Any]) -> LaddScheduler:
        """Builds the scheduler of a path, with those of these options that it has, under its own ones."""
        parameters = inspect.signature(self.kind).parameters
        shared = {name: value for name, value in options.items() if name in parameters}
        return self.kind(**{**shared, **self.options, **self._path})

    @property
    def kind(self) -> type[LaddScheduler]:
        """The class of the scheduler of a path; with `steps` of each leg that of any path."""
        return kind_of(self.path, self.options)

    @property
    def _path(self) -> dict[str, Any]:
        return {"path": self.path} if self.kind is LaddScheduler else {}

    @property
    def name(self) -> str:
        """The short name in tables."""
        if self.label is not None:
            return self.label
        path = self.path if self.path in (SAVED, TUNED) else path_name(self.path)
        return ", ".join([path, *(f"{name} {_text(value)}" for name, value in self.options.items())])

    def data(self) -> Any:
        """Returns the schedule as JSON data."""
        label = {} if self.label is None else {"label": self.label}
        return {**label, "path": self.path, **self.options} if label or self.options else self.path

    def over(self, own: LaddScheduler) -> LaddScheduler:
        """Returns the scheduler, with the options of `own` as far as they share them.

        Raises `ValueError` for options that `own` does not have, where it is the one to change.
        """
        if self.path in (SAVED, TUNED):
            if unknown := [name for name in self.options if name not in own.config]:
                raise ValueError(
                    f"The schedule {self.name!r} changes `{unknown[0]}`, which {type(own).__name__} does not have: "
                    "give a path instead, or leave it out."
                )
            changed: LaddScheduler = type(own).from_config(own.config, **self.options) if self.options else own
            return changed
        return rescheduled(own, self.path, **self.options)


def check_names(specs: Iterable[ScheduleSpec]) -> None:
    """Raises `ValueError` for different schedules of one name, by which their scores are kept."""
    found: dict[str, Any] = {}
    for spec in specs:
        if found.setdefault(spec.name, spec.data()) != spec.data():
            raise ValueError(
                f"`schedules` has two named {spec.name!r}: give each a `label` of its own, or leave one out."
            )


_NOT_OPTIONS = ("path", *LaddScheduler.OF_THE_MODEL)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
