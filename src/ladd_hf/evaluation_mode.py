"""Without dropout, for as long as something is generated, encoded or measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Within it, a model that is being trained is in evaluation mode; what has no modes is left alone."""
    if not getattr(model, "training", False):
        yield
        return
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:  # parts of it may have been in evaluation mode
            module.training = training
