"""Settings made for a long run, in a run that is much shorter: its warm-up, and how often it is logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from ..training.arguments import LaddTrainingArguments
from .command_line import flag_values

# A tenth of a run: no shorter one warms up longer, if its recipe does not, or trains longer without a line of progress.
_SHARE = 10


def warm_up_of_run(settings: Mapping[str, Any], flags: Sequence[str]) -> tuple[Any, str]:
    """Returns a recipe's warm-up steps for the run that flags describe, and the change in words, if any.

    A number of steps that is more than a tenth of a run with another `--max_steps` is cut to that, or to the recipe's
    own share of its run, if this is larger. A share of the run, and what a flag says, are unchanged.
    """
    given, warm_up, old = flag_values(flags), settings.get("warmup_steps"), settings.get("max_steps")
    new = given.get("max_steps", "")
    if "warmup_steps" in given or not new.isdecimal() or not _is_count(warm_up) or not _is_count(old) or int(new) < 1:
        return warm_up, ""
    longest = max(int(new) // _SHARE, int(new) * warm_up // old)
    return (longest, f"warm-up {warm_up} -> {longest}") if longest < warm_up else (warm_up, "")


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def log_short_runs(training: LaddTrainingArguments, flags: Sequence[str]) -> None:
    """Makes a run log at least ten times, unless a flag says how often."""
    if training.logging_steps >= 1 and training.max_steps > 0 and "logging_steps" not in flag_values(flags):
        training.logging_steps = min(training.logging_steps, max(1, training.max_steps // _SHARE))
