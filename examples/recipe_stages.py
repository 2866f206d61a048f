"""The stages of a recipe in a run of another length than the recipe's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from ladd_hf.training.stages import STAGE_LENGTHS


def scaled_stages(settings: Mapping[str, Any], flags: Sequence[str]) -> dict[str, int]:
    """The lengths of a recipe's stages, in proportion, where of all lengths `--max_steps` alone is given by a flag.

    Stages of a recipe that are shares of the run, and lengths given by flags, are what they say.
    """
    given = _values(flags)
    new = int(given["max_steps"]) if given.get("max_steps", "").isdecimal() else 0
    old = settings.get("max_steps")
    if not new or not _at_least_1(old) or new == old or not given.keys().isdisjoint(STAGE_LENGTHS):
        return {}
    lengths = {name: settings[name] for name in STAGE_LENGTHS if _at_least_1(settings.get(name))}
    scaled = {name: max(1, int(length * new / old + 0.5)) for name, length in lengths.items()}
    before = [name for name in ("mdlm_steps", "stage_1_steps") if name in scaled]
    # rounded up, they shall not take the last step from stage 2
    if before and sum(scaled[name] for name in before) == new and sum(lengths[name] for name in before) < old:
        longest = max(before, key=lambda name: scaled[name])
        scaled[longest] = max(scaled[longest] - 1, 1)
    return scaled


def _values(flags: Sequence[str]) -> dict[str, str]:
    """The last value of each flag, by the name of its field."""
    values = {}
    for flag, after in zip_longest(flags, flags[1:], fillvalue=""):
        if flag.startswith("--"):
            name, joined, value = flag[2:].partition("=")
            values[name.replace("-", "_")] = value if joined else after
    return values


def _at_least_1(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 1
