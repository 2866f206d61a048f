"""The histogram of the loss over times, of which a run draws its times (`adaptive_times`), kept with checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..diffusion.time_density import TimeHistogram
from .checkpoints import reading

TIMES_FILE = "adaptive_times.safetensors"


class AdaptiveTimes:
    """Collects the losses of an optimiser step's batches; a step draws from the losses of earlier ones alone, so that
    its times do not depend on how it is cut into batches and processes."""

    def __init__(self) -> None:
        self.histogram = TimeHistogram()
        self._step: Tensor | None = None

    def collect(self, moments: Tensor | None) -> None:
        """Adds the sums of a batch; `None` if the step's times are not adaptive."""
        if moments is not None:
            self._step = moments if self._step is None else self._step + moments

    def end_step(self, add_up: Callable[[Tensor], Tensor]) -> None:
        """Ends an optimiser step. `add_up` adds the sums of all processes."""
        if self._step is not None:
            self.histogram.update(add_up(self._step))
        self._step = None

    def save(self, folder: str | Path) -> None:
        """Writes the histogram to a checkpoint's folder, if there are losses in it."""
        moments = self.histogram.moments
        if bool(moments.any()):
            save_file({"moments": moments.cpu().contiguous()}, str(Path(folder) / TIMES_FILE))

    @classmethod
    def load(cls, folder: str | Path) -> AdaptiveTimes:
        """Reads the histogram of a checkpoint; an empty one if it has none.

        Raises `ValueError` for a damaged file.
        """
        loaded = cls()
        if (path := Path(folder) / TIMES_FILE).exists():
            with reading(folder, TIMES_FILE):
                moments = load_file(str(path))["moments"]
                if moments.shape != loaded.histogram.moments.shape:
                    raise ValueError(f"the histogram is {tuple(moments.shape)}")
            loaded.histogram = TimeHistogram(moments.to(torch.float64))
        return loaded
