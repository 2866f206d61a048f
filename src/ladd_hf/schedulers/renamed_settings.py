"""Conversion of saved schedulers' renamed options to their current names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.utils import logging

from ..diffusion.process import NOISE_FIELDS

logger = logging.get_logger(__name__)

_RENAMED = {
    "spacing": "timestep_spacing",
    "remasking_rate": "remasking",
    **dict.fromkeys(NOISE_FIELDS, "noise_process"),
}


def with_current_names(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a configuration with renamed options under their current names, and logs a warning for them."""
    old = {name: value for name, value in saved.items() if name in _RENAMED}
    current = {name: value for name, value in saved.items() if name not in _RENAMED}
    if not old:
        return current
    if "spacing" in old:
        current["timestep_spacing"] = old["spacing"]
    if old.get("remasking_rate"):
        current["remasking"] = {"name": saved["remasking"], "rate": old["remasking_rate"]}
    if process := {name: old[name] for name in NOISE_FIELDS if name in old}:
        current["noise_process"] = process
    logger.warning(
        "The scheduler was saved before some options were renamed: "
        f"{', '.join(f'`{name}` became `{_RENAMED[name]}`' for name in sorted(old))}. Save it again to write it as "
        "it is now."
    )
    return current
