"""The interface of a channel of latents: prior, noise, reverse step, loss and bound of one kind of them.

One class per kind holds all differences between continuous latents and codes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .masked import OWN_LAW, TokenSampler
from .rng import RowGenerator


@dataclass
class EncodedLatents:
    """Clean latents of a batch.

    Attributes:
        vectors: `(B, M, D)` with a gradient to the encoder: the continuous latents, or the codes' codebook vectors.
        kl: `(B,)` KL in nats from the encoder's Gaussian to a standard normal; 0.5 |y_0|^2 if it has no variance.
        codes: `(B, M)` codes, or `None` for continuous latents.
        commitment_loss: scalar loss of the quantiser.
        unquantized: `(B, M, D)` vectors before quantisation, or before they are snapped to anchors; `None` for other
            continuous latents.
    """

    vectors: Tensor
    kl: Tensor
    codes: Tensor | None = None
    commitment_loss: Tensor = field(default_factory=lambda: torch.zeros(()))
    unquantized: Tensor | None = None

    @property
    def clean(self) -> Tensor:
        """The latents to diffuse: the codes, or the vectors."""
        return self.vectors if self.codes is None else self.codes


class LatentChannel(ABC):
    """Interface of a kind of latents, used by the scheduler, the objective and the pipeline.

    Attributes:
        ends_noisy: True if clean latents have no probability, so that a run over which they are averaged out ends
            before they are clean.
        has_own_law: False if the steps of a run draw another law than the one that bounds are of.
        is_drawn: True if latents are drawn from a law over codes or anchors, which may be tempered.
        has_rate: False if the bound of a step is not its `rate` times the rise of `progress`, so that it has to be
            known for both of its times.
    """

    ends_noisy: bool = False
    has_own_law: bool = True
    is_drawn: bool = True
    has_rate: bool = True

    @abstractmethod
    def prior(self, length: int, random: RowGenerator) -> Tensor:
        """Returns latents at t_y = 1: pure noise, `(B, M, D)` or `(B, M)`."""

    @abstractmethod
    def dropped(self, latents: Tensor) -> Tensor:
        """Returns latents without information, in the shape of `latents`: zeros or mask codes. Paper, section 6."""

    def unrelated(self, latents: Tensor, random: RowGenerator) -> Tensor:
        """Draws latents that are of no text, in the shape of `latents`: by default pure noise."""
        return self.prior(latents.shape[1], random).to(latents)

    def seen(self, noisy: Tensor) -> Tensor:
        """Returns the latents that say anything, `(B, M)` bool: by default all of them."""
        return torch.ones(noisy.shape[:2], dtype=torch.bool, device=noisy.device)

    @abstractmethod
    def add_noise(self, clean: Tensor, t: Tensor, random: RowGenerator) -> Tensor:
        """Noises clean latents to times `t` `(B,)`."""

    @abstractmethod
    def loss(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the plain loss per example at times `t`, `(B,)`, averaged over the latents."""

    @abstractmethod
    def bound(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the bound's integrand at times `t`, in nats per example and unit of time, `(B,)`."""

    @abstractmethod
    def step_bound(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor, s: Tensor, random: RowGenerator
    ) -> Tensor:
        """Returns the bound's term of a run's step t -> s, in nats per example, `(B,)`; 0 where s = t.

        Where it has no closed form it is an unbiased estimate, from a draw of the step.
        """

    @abstractmethod
    def rate(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the bound's nats per example and unit of `progress` in a short step from times `t`, `(B,)`."""

    @abstractmethod
    def progress(self, t: Tensor) -> Tensor:
        """Returns a number that rises as t falls, in the shape of `t`: a step's bound is proportional to its rise."""

    @abstractmethod
    def draw_moves(self, noisy: Tensor, t: float, s: float, random: RowGenerator) -> Tensor:
        """Draws the latents that the step t -> s changes, `(B, M)` bool, independent of the denoiser's output."""

    @abstractmethod
    def known(self, noisy: Tensor, t: float) -> Tensor:
        """Returns the latents that are clean at time t, `(B, M)` bool."""

    @abstractmethod
    def written(self, moves: Tensor, s: float) -> Tensor:
        """Returns those of the changed latents `moves` `(B, M)` that a step to time s makes clean, `(B, M)` bool."""

    @abstractmethod
    def step(
        self,
        prediction: Tensor,
        noisy: Tensor,
        t: float,
        s: float,
        random: RowGenerator,
        moves: Tensor,
        draw: TokenSampler = OWN_LAW,
    ) -> Tensor:
        """Returns latents at time s from those at time t > s, the denoiser's prediction at t and `draw_moves`.

        `draw` maps logits over codes or anchors `(n, K)` and uniform numbers `(n,)` to them, `(n,)`.
        """

    @abstractmethod
    def start_log_ratio(self, clean: Tensor, noisy: Tensor, t: float) -> Tensor:
        """Returns log p(noisy) - log q(noisy | clean) of latents that a run starts with at time t, `(B,)` float64."""

    @abstractmethod
    def forced_step(self, clean: Tensor, noisy: Tensor, t: float, s: float, random: RowGenerator) -> Tensor:
        """Returns latents at time s as a step t -> s moves them that knows where they lead: from q(y_s | y_t, y_0)."""

    @abstractmethod
    def step_log_ratio(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, following: Tensor, t: float, s: float
    ) -> Tensor:
        """Returns log p(y_s | y_t) - log q(y_s | y_t, y_0) of a step's result `following`, `(B,)` float64.

        p is the step from the denoiser's prediction at t.
        """

    def of_output(self, output: Any) -> LatentChannel:
        """Returns the channel that reads the prediction of this output: itself, if that needs nothing else of it."""
        return self

    @abstractmethod
    def check(self, latents: Tensor, batch_size: int, length: int) -> None:
        """Raises `ValueError` unless `latents` are clean latents of this kind for the batch."""
