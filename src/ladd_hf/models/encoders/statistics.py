"""Statistics that standardise latents, gathered once and saved with the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from ..float32_buffers import Float32Buffers


class LatentStatistics(Float32Buffers):
    """Mean and deviation of each dimension over the gathered texts, in float32 for any dtype of the model.

    Deviations of 0 throughout mean that nothing was gathered yet.

    Args:
        size: number of dimensions.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.zeros(size))
        self._gathered: bool | None = None  # not known: looked at once, since that waits for the device
        self.register_load_state_dict_post_hook(_forget)

    def forward(self, features: Tensor) -> Tensor:
        """Standardises `(B, M, size)` features to mean 0 and variance 1. Raises `ValueError` before anything was
        gathered."""
        if not self.gathered:
            raise ValueError(
                "The latents are to be standardised (`encoder.standardization`), but by no statistics yet: call "
                "`model.gather_latent_statistics(dataset)` once, before training."
            )
        return (features.float() - self.mean) / self.std

    @property
    def gathered(self) -> bool:
        """True if there are statistics."""
        if self._gathered is None and not self.std.is_meta:
            self._gathered = bool(self.std.any())
        return bool(self._gathered)

    @torch.no_grad()
    def forget(self) -> None:
        """Takes the statistics away: those of an encoder that is trained anew are none of its outputs."""
        self.mean.zero_()
        self.std.zero_()
        self._gathered = False

    @torch.no_grad()
    def gather(self, batches: Iterable[Tensor], source: str | None = None) -> int:
        """Computes mean and deviation over `(B, M, size)` features, and returns the number of vectors.

        A constant dimension keeps its scale. Raises `ValueError` for less than two vectors, and for non-finite
        features, naming the encoder `source`; earlier statistics are then kept.
        """
        count, shift = 0, None
        sums = squares = torch.zeros(())
        for batch in batches:
            rows = batch.flatten(0, -2).double()
            shift = rows.mean(0) if shift is None else shift  # near the mean, so that squares cancel little
            count, sums, squares = (
                count + len(rows),
                sums + (rows - shift).sum(0).cpu(),
                squares + (rows - shift).square().sum(0).cpu(),
            )
        if shift is None or count < 2:
            raise ValueError(f"Statistics of latents need at least 2 of them, but there are {count}: give more texts.")
        if not (torch.isfinite(shift).all() and torch.isfinite(sums).all() and torch.isfinite(squares).all()):
            name = "" if source is None else f" {source!r}"
            raise ValueError(
                f"The encoder{name} gives numbers that are not finite, by which latents cannot be standardised: "
                "run it in float32, or give another encoder in `encoder.name_or_path`."
            )
        offset = sums / count
        std = (squares / count - offset.square()).clamp(min=0).sqrt()
        scale = (shift.cpu() + offset).abs()
        self.mean.copy_(shift.cpu() + offset)
        self.std.copy_(torch.where(std > 1e-6 * scale, std, 1.0))
        self._gathered = True
        return count


def _forget(statistics: LatentStatistics, _: Any) -> None:
    statistics._gathered = None
