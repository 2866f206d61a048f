"""Records of runs that were saved before stages had names, as they are written now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def with_named_stages(run: Mapping[str, Any]) -> dict[str, Any]:
    """A stretch of training as it was saved, its stages with their names.

    Two bare numbers were the steps of the tokens alone and of stage 1; what came after them was stage 2, or without a
    stage 1 the one stage there was. Of a stretch whose circumstances were not recorded they said nothing.
    """
    stages: Sequence[Any] = run["stages"]
    if not stages or not all(isinstance(one, int) for one in stages):
        return dict(run)
    mdlm, encoder = stages
    last = "prior" if encoder else "joint"
    left = max(run["first"] + run["steps"] - mdlm - encoder, 0)  # as far as is known
    named = [(name, steps) for name, steps in (("mdlm", mdlm), ("encoder", encoder)) if steps]
    return {**run, "stages": [*named, (last, left)] if run["facts"] else []}
