"""Identity of an evaluation: the model with its scheduler, the task, and the circumstances."""

from __future__ import annotations

import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from ..models.adapters import base_model
from ..pipelines import LaddPipeline
from ..schedulers import LaddScheduler
from ..tasks import Task
from ..tasks.base import Measure
from ..training.model_card import METHODS
from ..training.run_facts import hardware
from ..utils.digests import fingerprint, text_digest
from ..utils.local_paths import public_name
from ..utils.plain_data import plain
from .results import EvaluationResults
from .settings import EvaluationSettings


def not_yet_measured(
    pipeline: LaddPipeline, task: Task, settings: EvaluationSettings, name: str, path: str | Path | None = None
) -> EvaluationResults:
    """Returns the results of an evaluation without rows; see [`evaluate_pipeline`] for the arguments."""
    return EvaluationResults(
        model_identity(pipeline, name),
        task_identity(task),
        settings.data(),
        circumstances(pipeline),
        path=None if path is None else Path(path),
    )


def model_identity(pipeline: LaddPipeline, name: str) -> dict[str, Any]:
    """Returns name, kind, parameters and fingerprint of a pipeline's model, and its scheduler; a denoiser that is no
    torch module has neither parameters nor fingerprint."""
    model = pipeline.model
    found: dict[str, Any] = {"name": public_name(name), "method": METHODS[model.config.latent_type]}
    if isinstance(model, nn.Module):
        found["parameters"] = sum(one.numel() for one in base_model(model).parameters())
        found["fingerprint"] = fingerprint(model)
    return found | {"scheduler": scheduler_identity(pipeline.scheduler)}


def scheduler_identity(scheduler: LaddScheduler) -> dict[str, Any]:
    """Returns kind and options of a scheduler, which all schedules share; of the table of a tuned one a digest."""
    options = {name: plain(value) for name, value in scheduler.config.items() if not name.startswith("_")}
    if (table := options.pop("table", None)) is not None:
        options["table"] = text_digest(json.dumps(table, sort_keys=True))
    return {"kind": type(scheduler).__name__, **options}


def task_identity(task: Task) -> dict[str, Any]:
    """Returns the data set with all that its texts depend on, the judges with their definitions, and the scores of the
    data itself."""
    return {
        "name": task.name,
        "length": task.length,
        "data": plain(getattr(task, "settings", {})),
        "measures": [_described(measure) for measure in task.measures],
        "exact": task.exact,
        "reference": dict(task.reference()),
    }


def circumstances(pipeline: LaddPipeline) -> dict[str, Any]:
    """Returns dtype, hardware and versions."""
    dtype = str(getattr(pipeline.model, "dtype", torch.float32)).removeprefix("torch.")
    versions = f"ladd_hf {version('ladd_hf')}, torch {torch.__version__}, transformers {transformers.__version__}"
    device = torch.device(getattr(pipeline.model, "device", "cpu"))
    return {"dtype": dtype, "hardware": hardware(device), "versions": f"{versions}, Python {platform.python_version()}"}


def _described(measure: Measure) -> dict[str, Any]:
    return {name: getattr(measure, name) for name in ("name", "metric", "about", "better", "digits")}
