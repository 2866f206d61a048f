"""Reading of stages: objects, mappings, names, or JSON text of these."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from json import JSONDecodeError
from typing import Any

from ..utils.wrong_objects import described
from .stage_lengths import is_share
from .stages import STAGES, Stage, check_names

_EXAMPLE = "[{'name': 'encoder', 'steps': 100}, 'prior']"


def stages_from(given: Any) -> tuple[Stage, ...]:
    """Returns stages given as objects, mappings, names, or JSON text of these.

    Raises `ValueError`, naming the first invalid one.
    """
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except JSONDecodeError as error:
            raise ValueError(
                f"`stages` is {described(given)}, which is not JSON ({error}): give a list such as "
                '\'[{"name": "encoder", "steps": 100}, "prior"]\'.'
            ) from error
    if not isinstance(given, list | tuple | None):
        raise ValueError(f"`stages` is {described(given)}; give a list of stages, such as {_EXAMPLE}.")
    stages = []
    for place, one in enumerate(given or ()):
        try:
            stages.append(_stage(one))
        except ValueError as error:
            raise ValueError(f"`stages[{place}]`: {error}") from error
    for place, stage in enumerate(stages):
        last, without = place == len(stages) - 1, stage.steps is None and stage.epochs is None
        if without and not last:
            raise ValueError(
                f"`stages[{place}]`, {stage.name!r}, has no length, and others come after it: give it `steps` or "
                "`epochs`."
            )
        if last and not without:
            raise ValueError(
                f"`stages[{place}]`, {stage.name!r}, is the last and goes on to the end of the run: give it no "
                "`steps` or `epochs`, or another stage after it."
            )
    shares = [stage.steps for stage in stages if stage.steps is not None and is_share(stage.steps)]
    if sum(shares) >= 1:
        raise ValueError(
            f"The `steps` {' and '.join(f'{share:g}' for share in shares)} of `stages` are shares of the run, and "
            f"leave nothing to the last stage, {stages[-1].name!r}: give shares that sum up to less than 1."
        )
    return tuple(stages)


def _stage(given: Any) -> Stage:
    """Returns one stage. Raises `ValueError` for an invalid one."""
    if isinstance(given, str):
        given = {"name": given}
    if isinstance(given, Mapping):
        check_names("a stage", given, [f.name for f in fields(Stage)])
        if "name" not in given:
            raise ValueError(f"It has no `name`; give one of {list(STAGES)}.")
        given = Stage(**given)
    if not isinstance(given, Stage):
        raise ValueError(f"It is {described(given)}; give the name of a stage, or a mapping with its `name`.")
    given.complete()
    return given
