"""Identity of an evaluation: the model with its scheduler, the task, and the circumstances."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
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

_DIGESTED = 1024  # held-out texts that tell data apart


def not_yet_measured(
    pipeline: LaddPipeline, task: Task, settings: EvaluationSettings, name: str, path: str | Path | None = None
) -> EvaluationResults:
    """Returns the results of an evaluation without rows; see [`evaluate_pipeline`] for the arguments."""
    return EvaluationResults(
        model_identity(pipeline, name),
        task_identity(task, settings),
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


def task_identity(task: Task, settings: EvaluationSettings) -> dict[str, Any]:
    """Returns the data set with all that its held-out texts depend on and a digest of them, the judges with their
    definitions, and, where samples are judged, the scores of the data itself beside as many, with the numbers of texts
    on which they depend."""
    number = settings.num_samples
    return {
        "name": task.name,
        "length": task.length,
        "measures": [_described(measure) for measure in task.measures],
        "exact": task.exact,
        "judge_characters": getattr(task, "judge_characters", 0),
        "held_out": {**getattr(task, "layout", {}), "digest": _digest(task)},
        "reference": dict(task.reference(number)) if number else {},
        "reference_counts": dict(task.reference_counts(number)) if number else {},
    }


def _digest(task: Task) -> str:
    """Identifies the held-out texts by some of them, the same for evaluations of any seed."""
    digest = hashlib.sha256()
    for row in task.eval_dataset(_DIGESTED, 0):
        digest.update(np.asarray(row["input_ids"], dtype=np.int64).tobytes())
    return digest.hexdigest()[:16]


def circumstances(pipeline: LaddPipeline) -> dict[str, Any]:
    """Returns dtype, hardware and versions."""
    dtype = str(getattr(pipeline.model, "dtype", torch.float32)).removeprefix("torch.")
    versions = f"ladd_hf {version('ladd_hf')}, torch {torch.__version__}, transformers {transformers.__version__}"
    device = torch.device(getattr(pipeline.model, "device", "cpu"))
    return {"dtype": dtype, "hardware": hardware(device), "versions": f"{versions}, Python {platform.python_version()}"}


def _described(measure: Measure) -> dict[str, Any]:
    return {name: getattr(measure, name) for name in ("name", "metric", "about", "better", "digits")}
