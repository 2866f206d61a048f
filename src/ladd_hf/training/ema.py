"""Exponential moving average (EMA) of the weights during training, which is evaluated and published."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import TrainerCallback

from ..diffusion.precision import at_least_float32
from ..models.adapters import base_model, learnable_names
from ..models.fsdp import full_tensor, is_sharded, reshard, sharded_like
from ..models.loading import misfit
from .checkpoints import manifest_of, reading

EMA_FILE = "ema.safetensors"


class EMACallback(TrainerCallback):
    """Averages a model's parameters after each optimiser step and keeps the average with the checkpoints.

    With adapters, only the parameters that peft left trainable.

    Early averages decay faster, (1 + n) / (10 + n) after n steps, so that the start does not dominate a short run.

    Args:
        model: the model, not wrapped.
        decay: of the average.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = model
        self.decay = decay
        self.average: Any = None
        self._names: set[str] = set()  # of the parameters that are averaged
        self._applied = False

    def start(self) -> Any:
        """Starts the average at the current weights, on their device, and returns it."""
        self._names = learnable_names(self.model)
        together = not is_sharded(self.model)  # `_foreach_copy_` does not take sharded weights as of torch 2.13.0
        self.average = EMAModel(self._parameters().values(), decay=self.decay, foreach=together)
        # In half precision a step of 1 - decay would round to zero, and the average would never change.
        self.average.shadow_params = [at_least_float32(averaged) for averaged in self.average.shadow_params]
        return self.average

    def _parameters(self) -> dict[str, nn.Parameter]:
        reshard(self.model)
        return {name: one for name, one in self.model.named_parameters() if name in self._names}

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Starts the average with a new run; a resumed run continues the loaded one."""
        self.model = self.model if model is None else base_model(model)  # a `model_init` makes a new one for each run
        if self.average is None or state.global_step == 0:
            self.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Updates the average with the weights of this optimiser step."""
        self.average.step(self._parameters().values())

    def restart(self) -> None:
        """Restarts the average at the next step, for parts that are trained from then on."""
        if self.average is not None:
            self.average.optimization_step = 0

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Context in which the model has the averaged weights; its own before training, or if they are applied
        already."""
        if self.average is None or self._applied:
            yield
            return
        self.average.store(self._parameters().values())
        self.average.copy_to(self._parameters().values())
        self._applied = True
        try:
            yield
        finally:
            self.average.restore(self._parameters().values())
            self._applied = False

    @torch.no_grad()
    def load_into(self, module: nn.Module) -> None:
        """Loads the averaged weights of a part of the model permanently, as when the encoder is fixed."""
        if self.average is None:
            return
        chosen = {id(parameter) for parameter in module.parameters()}
        for parameter, averaged in zip(self._parameters().values(), self.average.shadow_params, strict=True):
            if id(parameter) in chosen:
                parameter.copy_(averaged)

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Copies the averaged weights to the parameters with their names in another module, if it has them. With
        sharded weights every process has to call it, and gathers them."""
        theirs = dict(module.named_parameters())
        for name, averaged in zip(self._parameters(), self.average.shadow_params, strict=True):
            whole = full_tensor(averaged)
            if name in theirs:
                theirs[name].copy_(whole)

    def save(self, folder: str | Path, write: bool = True) -> None:
        """Writes the average to a checkpoint's folder. With sharded weights every process has to call it, though only
        one has `write` set."""
        if self.average is None:
            return
        shadows = zip(self._parameters(), self.average.shadow_params, strict=True)
        tensors = {name: full_tensor(averaged.detach()).contiguous() for name, averaged in shadows}
        if not write:
            return
        metadata = {"optimization_step": str(self.average.optimization_step)}
        save_file(tensors, str(Path(folder) / EMA_FILE), metadata=metadata)

    def load(self, folder: str | Path) -> None:
        """Reads the average of a checkpoint. Raises `ValueError` if it has none, for a damaged file, and for an average
        of other weights than the model's."""
        path = Path(folder) / EMA_FILE
        if not path.exists():
            raise ValueError(self._absent(folder))
        average = self.start()
        with reading(folder, EMA_FILE), safe_open(str(path), "pt") as file:
            parameters, saved_names = self._parameters(), set(file.keys())
            if wrong := misfit(parameters.keys() - saved_names, saved_names - parameters.keys()):
                raise ValueError(f"the average {wrong}")
            for name, averaged in zip(parameters, average.shadow_params, strict=True):
                saved = file.get_tensor(name)
                if saved.shape != averaged.shape:  # else it might be broadcast
                    raise ValueError(f"the average of {name} is {tuple(saved.shape)}, not {tuple(averaged.shape)}")
                averaged.copy_(sharded_like(averaged, saved))
            average.optimization_step = int(file.metadata()["optimization_step"])

    def _absent(self, folder: str | Path) -> str:
        """Returns the error message for a checkpoint without an average."""
        listed = manifest_of(folder).get("files")
        if listed is not None and EMA_FILE not in listed:
            return (
                f"The checkpoint {folder} has no {EMA_FILE}: it was trained without EMA, so go on with `ema_decay` 0."
            )
        return (
            f"The checkpoint {folder} has no {EMA_FILE}, which holds the averaged weights: if it was trained with EMA, "
            "put the file back or give another checkpoint; only if it was not, go on with `ema_decay` 0."
        )
