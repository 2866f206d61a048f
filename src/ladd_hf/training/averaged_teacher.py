"""The averaged weights as the teacher of the terms of consistency and MeanFlow."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from ..models.fsdp import is_sharded
from ..models.modeling_ladd import LaddForDiffusionLM
from .ema import EMACallback
from .stage_plan import StagePlan


class AveragedTeacher:
    """A copy of a model's denoiser with the averaged weights of the present step, in evaluation mode.

    The copy is whole in every process, also where the model is sharded.
    """

    def __init__(self) -> None:
        self._copy: Any = None
        self._step = -1  # whose weights it has

    def meet(self, model: LaddForDiffusionLM, plan: StagePlan, ema: EMACallback | None, device: torch.device) -> None:
        """Copies the model of a run, if its stages ask for its average, before the model is sharded."""
        self._step = -1
        asked = any(one.asks_average for one in plan.objectives())
        if ema is None or not asked:
            self._copy = None
        elif not is_sharded(model):  # else it is that of an earlier run of the same trainer
            self._copy = _denoiser_of(model).to(device)

    def at(self, step: int, ema: EMACallback) -> LaddForDiffusionLM | None:
        """Returns the model with the averaged weights before optimiser step number `step`; `None` outside of a run,
        when there is no average."""
        if self._copy is None or ema.average is None:
            return None
        if step != self._step:
            self._copy.to(ema.model.dtype)
            ema.copy_to(self._copy)
            self._step = step
        return self._copy


def _denoiser_of(model: LaddForDiffusionLM) -> nn.Module:
    """Returns a copy of a model in evaluation mode, without its encoder and quantiser, that learns nothing."""
    left_out: dict[int, Any] = {
        id(part): nn.Identity() for part in (model.encoder, model.quantizer) if part is not None
    }
    copied = copy.deepcopy(model, left_out)
    return copied.requires_grad_(False).eval()
