"""Identity of an evaluation: the model, the task, and the circumstances."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from typing import Any

import torch
import transformers
from torch import nn

from ..models.adapters import base_model
from ..pipelines import LaddPipeline
from ..tasks import Task
from ..tasks.base import Measure
from ..training.model_card import METHODS
from ..training.run_facts import hardware
from ..utils.local_paths import public_name


def model_identity(pipeline: LaddPipeline, name: str) -> dict[str, Any]:
    """Returns name, kind, parameters and fingerprint of a pipeline's model; a denoiser that is no torch module has
    neither of the last two."""
    model = pipeline.model
    found: dict[str, Any] = {"name": public_name(name), "method": METHODS[model.config.latent_type]}
    if isinstance(model, nn.Module):
        found["parameters"] = sum(one.numel() for one in base_model(model).parameters())
        found["fingerprint"] = fingerprint(model)
    return found


def fingerprint(model: nn.Module) -> str:
    """Returns a digest of all weights and buffers, which is the same in whatever order they are named."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def task_identity(task: Task) -> dict[str, Any]:
    """Returns the data set, the judges with their definitions, and the scores of the data itself."""
    return {
        "name": task.name,
        "length": task.length,
        "measures": [_described(measure) for measure in task.measures],
        "exact": task.exact,
        "comparison": task.comparison,
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
