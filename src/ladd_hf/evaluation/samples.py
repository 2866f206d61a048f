"""Samples of an evaluation, shared by its processes."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import Tensor

from ..metrics.seeded_samples import joined, seeded_samples
from ..pipelines import LaddPipeline
from .settings import EvaluationSettings
