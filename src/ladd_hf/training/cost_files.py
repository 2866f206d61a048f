"""Cost of training, in a file beside the weights, for those who measure them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .run_record import RECORD_FILE, RunRecord, facts_of

COST_FILE = "training_cost.json"


def training_cost(record: RunRecord) -> dict[str, Any]:
    """Returns steps, floating-point operations and seconds of the training of a record's weights, in all and by stage,
    and its hardware, as JSON data; empty if nothing was counted."""
    by_stage: dict[str, dict[str, Any]] = {}
    for run in record.parts():
        for cost in run.costs:
            name = run.stages[cost.stage][0] if cost.stage < len(run.stages) else f"stage {cost.stage}"
            found = by_stage.setdefault(name, {"stage": name, "steps": 0, "flops": 0.0, "seconds": 0.0})
            for number in ("steps", "flops", "seconds"):
                found[number] += getattr(cost, number)
    if not by_stage:
        return {}
    stages = list(by_stage.values())
    whole = {number: sum(one[number] for one in stages) for number in ("steps", "flops", "seconds")}
    uncounted = record.steps - whole["steps"]  # of a checkpoint without a record, or of an earlier version
    hardware = facts_of(list(record.parts())).get("hardware", "")
    return {**whole, "uncounted_steps": uncounted, "hardware": hardware, "stages": stages}


def save_cost(record: RunRecord, folder: str | Path) -> None:
    """Writes what training cost beside the weights, if it was counted."""
    if cost := training_cost(record):
        (Path(folder) / COST_FILE).write_text(json.dumps(cost, indent=2) + "\n", encoding="utf-8")


def load_cost(folder: str | Path) -> dict[str, Any]:
    """Returns what the training of a folder's weights cost: from the file beside them, or a checkpoint's record; empty
    where neither says it.

    Raises `ValueError` for files that are damaged.
    """
    path = Path(folder) / COST_FILE
    if not path.is_file():
        return training_cost(RunRecord.load(folder)) if (Path(folder) / RECORD_FILE).is_file() else {}
    try:
        cost: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for one in (cost, *cost["stages"]):
            float(one["flops"]), float(one["seconds"]), int(one["steps"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): take it away, and the cost of training is not shown."
        ) from error
    return cost
