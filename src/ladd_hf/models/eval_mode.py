"""Evaluation mode, without dropout, during generation, encoding and measurement."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any


@dataclass
class _Held:
    """Training modes of a model's modules before evaluation mode, and the number of its present users."""

    modes: list[tuple[Any, bool]]
    users: int = 0


_LOCK = threading.Lock()
_HELD: dict[int, _Held] = {}  # by the model's id: those in evaluation mode now


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Context in which a model in training is in evaluation mode; objects without modes are left alone.

    If several threads use one model, the last one restores the modes.
    """
    with _LOCK:
        held = _HELD.get(id(model))
        if held is None and getattr(model, "training", False):
            held = _HELD[id(model)] = _Held([(module, module.training) for module in model.modules()])
            model.eval()
        if held is not None:
            held.users += 1
    try:
        yield
    finally:
        if held is not None:
            with _LOCK:
                held.users -= 1
                if not held.users:
                    del _HELD[id(model)]
                    for module, training in held.modes:  # some parts may have been in evaluation mode
                        module.training = training


class InEvaluation:
    """A model's predictions in evaluation mode, whatever its own mode is; all else is the model's."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def denoise(self, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        """Evaluates the denoiser of the tokens once, or without tokens that of the latents."""
        # one that is in the mode already is traced without a graph break
        with evaluation_mode(self.model) if self.model.training else nullcontext():
            return self.model.denoise(input_ids, *args, predict_latents=input_ids is None, **kwargs)
