"""The anchors of a model's latents, found once and saved with it, and the posterior over them."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..diffusion.anchored_latents import Anchors
from ..diffusion.latent_predictions import AnchorPrediction
from ..diffusion.noise_schedules import GaussianSchedule, gaussian_schedule
from .configuration_ladd import LaddConfig
from .float32_buffers import Float32Buffers
from .k_means import k_means

# Latents that the k-means reads for each anchor at most; frequencies are those of all.
_LATENTS_PER_ANCHOR = 32


class LatentAnchors(Float32Buffers):
    """The k-means centres of the encoder's outputs, their frequencies, and how far outputs are from them.

    Until they are found, all of them are at the origin.
    """

    _keep_in_fp32_modules_strict = ["latent_anchors"]  # the model reads it under this name

    points: Tensor
    log_frequencies: Tensor
    spread: Tensor

    def __init__(self, config: LaddConfig) -> None:
        super().__init__()
        self.options = cast(AnchorPrediction, config.latent_prediction)
        self.schedule: GaussianSchedule = gaussian_schedule(config.latent_noise_schedule or "")
        self.register_buffer("points", torch.zeros(self.options.count, config.latent_dim))
        self.register_buffer("log_frequencies", torch.zeros(self.options.count))
        self.register_buffer("spread", torch.zeros(()))
        self._found: bool | None = None  # not known: looked at once, since that waits for the device
        self.register_load_state_dict_post_hook(_forget)

    @property
    def found(self) -> bool:
        """True if there are anchors."""
        if self._found is None and not self.points.is_meta:
            self._found = bool(self.points.any())
        return bool(self._found)

    @property
    def anchors(self) -> Anchors:
        """The anchors; latents that are snapped to them are exactly there."""
        return Anchors(self.points, 0.0 if self.options.snap else self.spread)

    def forward(self, context: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the posterior's logits: what the network says, plus frequency and likelihood of each anchor.

        Args:
            context: `(B, M, K)` logits of the network.
            noisy: `(B, M, D)` latents y_t.
            t: times, `(B,)` or `(1,)`.

        Returns:
            `(B, M, K)`, in float32.
        """
        share = self.schedule.signal_variance(t.double()).float()
        return context.float() + self.log_frequencies + self.anchors.log_likelihoods(noisy.float(), share)

    def snapped(self, vectors: Tensor) -> Tensor:
        """Returns the nearest anchors of `(B, M, D)` vectors, in float32, where differences to them count; the vectors
        themselves without snapping or anchors. Gradients pass straight through."""
        if not (self.options.snap and self.found):
            return vectors
        nearest = self.points[self.anchors.nearest(vectors.float())]
        return nearest + (vectors - vectors.detach()) if vectors.requires_grad else nearest

    @torch.no_grad()
    def forget(self) -> None:
        """Takes the anchors away: those of an encoder that is trained anew are none of its outputs."""
        for buffer in (self.points, self.log_frequencies, self.spread):
            buffer.zero_()
        self._found = False

    @torch.no_grad()
    def find(self, vectors: Tensor, seed: int = 0) -> None:
        """Finds the anchors of `(N, D)` outputs of the encoder. Raises `ValueError` for fewer different ones than
        anchors; earlier anchors are then kept."""
        vectors, count = vectors.float(), self.options.count
        order = torch.randperm(len(vectors), generator=torch.Generator().manual_seed(seed)).to(vectors.device)
        points, _, _ = k_means(vectors[order[: _LATENTS_PER_ANCHOR * count]], count, seed=seed)
        apart = Anchors(points).square_distances
        number = torch.cat([apart(part).argmin(-1) for part in vectors.split(4096)])
        frequencies = torch.bincount(number, minlength=count).float() + 0.5  # none is impossible
        self.points.copy_(points)
        self.log_frequencies.copy_((frequencies / frequencies.sum()).log())
        self.spread.copy_((vectors - points[number]).square().mean())
        self._found = True


def _forget(anchors: LatentAnchors, _: Any) -> None:
    anchors._found = None
