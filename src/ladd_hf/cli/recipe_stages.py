"""A recipe's stages: changed by name, and rescaled to another length of the run."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from json import JSONDecodeError
from typing import Any, TypeGuard

from .command_line import flag_values

Stages = list[Any]  # names, and mappings with `name`


def changed_stages(stages: Any, changes: Mapping[str, Any]) -> Stages:
    """Returns stages with `changes` by name: settings merged over theirs, or `None` to leave a stage out.

    Raises `ValueError` for a name of no stage, or of several.
    """
    stages = [_mapping(one) for one in stages or []]
    for name, change in changes.items():
        places = [place for place, one in enumerate(stages) if one.get("name") == name]
        if len(places) != 1:
            names = [one.get("name") for one in stages]
            raise ValueError(
                f"`stages` changes {name!r}, and the recipe has the stages {names}: name one that is there once, or "
                "give a list of all stages."
            )
        if change is None:
            del stages[places[0]]
            continue
        if not isinstance(change, Mapping):
            raise ValueError(f"`stages` changes {name!r} to {change!r}; give a mapping of its settings, or null.")
        stages[places[0]] = _merged(stages[places[0]], change)
    return stages


def stages_of_run(settings: Mapping[str, Any], flags: Sequence[str]) -> tuple[Any, str]:
    """Returns a recipe's stages for the run that flags describe, and the changes of their lengths, in words.

    If `--max_steps` is the only length among the flags, numbers of steps are scaled in proportion; shares of the run,
    epochs, and lengths given by flags are unchanged. `--stages` gives other stages, or a mapping of changes.
    """
    given, stages = flag_values(flags), settings.get("stages")
    asked = _json(given["stages"]) if "stages" in given else {}
    if not isinstance(asked, Mapping):
        return given["stages"], ""
    said = ""
    if not any(_of_length(change) for change in asked.values()):
        old, new = settings.get("max_steps"), given.get("max_steps", "")
        if isinstance(stages, list) and _at_least_1(old) and new.isdecimal() and int(new) not in (0, old):
            stages, said = _scaled(stages, old, int(new))
    return changed_stages(stages, asked) if asked else stages, said


def _scaled(stages: Stages, old: float, new: int) -> tuple[Stages, str]:
    """Scales stages from a run of `old` steps to one of `new`."""
    stages, before = [_mapping(one) for one in stages], [_mapping(one) for one in stages]
    counted = [one for one in stages if _at_least_1(one.get("steps"))]
    total = sum(one["steps"] for one in counted)
    for one in counted:
        one["steps"] = _in_proportion(one["steps"], new / old)
    # rounding up must not take the last step from the last stage
    if counted and sum(one["steps"] for one in counted) == new and total < old:
        longest = max(counted, key=lambda one: one["steps"])
        longest["steps"] = max(longest["steps"] - 1, 1)
    for ramp in (ramp for one in stages for ramp in _ramps(one).values()):
        if _at_least_1(ramp.get("steps")):
            ramp["steps"] = _in_proportion(ramp["steps"], new / old)
    lengths = [pair for pair in zip(_lengths(before), _lengths(stages), strict=True) if pair[0] != pair[1]]
    return stages, ", ".join(f"{name} {steps:g} -> {now:g}" for (name, steps), (_, now) in lengths)


def _lengths(stages: Stages) -> list[tuple[str, float]]:
    """Returns each number of steps in stages, with its name."""
    found = []
    for one in stages:
        found += [(str(one.get("name")), one["steps"])] if _at_least_1(one.get("steps")) else []
        ramps = {f"{one.get('name')}'s {name}": ramp.get("steps") for name, ramp in _ramps(one).items()}
        found += [(name, steps) for name, steps in ramps.items() if _at_least_1(steps)]
    return found


def _in_proportion(length: float, ratio: float) -> int:
    return max(1, int(length * ratio + 0.5))


def _mapping(stage: Any) -> dict[str, Any]:
    """Copies a stage as a mapping. Anything else counts as a name, which is checked when it is read."""
    return copy.deepcopy(dict(stage)) if isinstance(stage, Mapping) else {"name": stage}


def _ramps(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a stage's valid ramps by the name of their setting."""
    ramps = stage.get("ramps")
    return {name: one for name, one in ramps.items() if isinstance(one, dict)} if isinstance(ramps, Mapping) else {}


def _merged(stage: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    inner = {
        name: {**stage[name], **value}
        for name, value in change.items()
        if isinstance(value, Mapping) and isinstance(stage.get(name), Mapping)
    }
    return {**stage, **change, **inner}


def _of_length(change: Any) -> bool:
    """True if a change affects a stage's length."""
    return not isinstance(change, Mapping) or not change.keys().isdisjoint(("steps", "epochs", "ramps"))


def _json(text: str) -> Any:
    """Parses `--stages`, or returns `None`: text that is not JSON is passed on unchanged, to be refused with its
    reason."""
    try:
        return json.loads(text)
    except JSONDecodeError:
        return None


def _at_least_1(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 1
