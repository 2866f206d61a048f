"""Offloading of a pipeline's model while its layers change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusers.hooks.group_offloading import _maybe_remove_and_reapply_group_offloading


@contextmanager
def offloading_renewed(pipe: Any, model: Any) -> Iterator[None]:
    """Context in which layers get or lose adapters: diffusers' offloading is taken off the model and put on again, so
    that it knows them."""
    whole, sequential, grouped = pipe._optionally_disable_offloading(pipe)
    try:
        yield
    finally:
        if whole:
            pipe.enable_model_cpu_offload()
        elif sequential:
            pipe.enable_sequential_cpu_offload()
        elif grouped:
            _maybe_remove_and_reapply_group_offloading(model)
