"""Without dropout, for as long as something is generated, encoded or measured."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class _Held:
    """What a model's modules were before it was put into evaluation mode, and how many still need it there."""

    modes: list[tuple[Any, bool]]
    users: int = 0


_LOCK = threading.Lock()
_HELD: dict[int, _Held] = {}  # by the model's id: those in evaluation mode now


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Within it, a model that is being trained is in evaluation mode; what has no modes is left alone.

    Of several threads that use one model, the last to leave it puts the modes back.
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
                    for module, training in held.modes:  # parts of it may have been in evaluation mode
                        module.training = training
