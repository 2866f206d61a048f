"""Channels under masking: tokens, and the codes of discrete latents (Di-LADD)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .channels import LatentChannel
from .masked import OWN_LAW, TokenSampler, add_mask_noise, draw_unmask
from .noise_schedules import MaskSchedule
from .precision import at_least_float32
from .rng import RowGenerator


class MaskedChannel:
    """Masked diffusion channel of tokens, and the base class of discrete latents.

    Args:
        schedule: alpha(t).
        mask_id: id of the mask token or mask code.
    """

    def __init__(self, schedule: MaskSchedule, mask_id: int | None) -> None:
        self.schedule = schedule
        self.mask_id: Any = mask_id  # `None` for a scheduler that has no model yet

    def add_noise(self, clean: Tensor, t: Tensor, random: RowGenerator) -> Tensor:
        """Masks each of the `(B, length)` ids with probability 1 - alpha(t), `t` `(B,)`."""
        return add_mask_noise(clean, self.schedule.alpha(t), random.uniform(clean.shape[1]), self.mask_id)

    def draw_unmask(self, ids: Tensor, t: float, s: float, random: RowGenerator, remask: float = 0.0) -> Tensor:
        """Draws the positions to reveal in the step t -> s, `(B, length)` bool; `remask`: see `masked.draw_unmask`."""
        alpha_t, alpha_s = (self.alpha_at(time) for time in (t, s))
        return draw_unmask(ids == self.mask_id, alpha_t, alpha_s, random.uniform(ids.shape[1]), remask)

    def reveal(
        self, ids: Tensor, places: Tensor, logits: Tensor, uniform: Tensor, draw: TokenSampler = OWN_LAW
    ) -> Tensor:
        """Returns `(B, length)` ids: those at `places` drawn from the denoiser's logits, the others unchanged.

        Args:
            ids: `(B, length)`.
            places: `(B, length)` bool, such as `draw_unmask` returns.
            logits: `(n, K)` at the places, in row-major order.
            uniform: `(B, length)` uniform numbers in [0, 1); those at the places are used.
            draw: draws from the logits.
        """
        return ids.masked_scatter(places, draw(logits, uniform[places]).to(ids.dtype))

    def cross_entropy(self, logits: Tensor, clean: Tensor) -> Tensor:
        """Returns the cross-entropy of each id in nats: `(..., K)` logits, `(...)` ids to `(...)`, at least float32."""
        flat = at_least_float32(logits.flatten(0, -2))
        return F.cross_entropy(flat, clean.flatten(), reduction="none").view_as(clean)

    def progress(self, t: Tensor) -> Tensor:
        """Returns alpha(t), and 1 at time 0 for any schedule: a step's bound is proportional to its rise."""
        return torch.where(t <= 0, 1.0, self.schedule.alpha(t))

    def reveal_probability(self, t: Tensor, s: Tensor) -> Tensor:
        """Returns the probability that the step t -> s reveals a masked position, `(B,)`; at time 0 all are visible."""
        alpha_t, alpha_s = self.schedule.alpha(t), self.progress(s)
        return torch.where(t == s, 0.0, (alpha_s - alpha_t) / (1 - alpha_t))

    def alpha_at(self, time: float) -> float:
        """Returns alpha(t) as a number; 1 at time 0 for any schedule."""
        return 1.0 if time <= 0 else float(self.schedule.alpha(torch.tensor(time, dtype=torch.float64)))


class DiscreteLatents(MaskedChannel, LatentChannel):
    """Codes from a codebook of `codebook_size`, masked like tokens (Di-LADD)."""

    def prior(self, length: int, random: RowGenerator) -> Tensor:
        """Returns mask codes, `(B, M)`."""
        return torch.full((len(random), length), self.mask_id, device=random.keys.device)

    def dropped(self, latents: Tensor) -> Tensor:
        """Returns mask codes in the shape of `latents`."""
        return torch.full_like(latents, self.mask_id)

    def unrelated(self, latents: Tensor, random: RowGenerator) -> Tensor:
        """Draws codes evenly from the codebook, `(B, M)`."""
        return (random.uniform(latents.shape[1]) * self.mask_id).long()

    def seen(self, noisy: Tensor) -> Tensor:
        """Returns the codes that are not masked, `(B, M)` bool."""
        return noisy != self.mask_id

    def loss(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the cross-entropy at masked codes over the number of codes, `(B,)` nats, from `(B, M, K)` logits."""
        return self._masked_cross_entropy(prediction, clean, noisy).mean(1)

    def bound(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns -alpha'(t) / (1 - alpha(t)) times the cross-entropy summed over masked codes, `(B,)` nats."""
        return self.schedule.weight(t) * self._masked_cross_entropy(prediction, clean, noisy).sum(1)

    def step_bound(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor, s: Tensor, random: RowGenerator
    ) -> Tensor:
        """Returns the probability of being revealed times the cross-entropy summed over masked codes, `(B,)` nats."""
        return self.reveal_probability(t, s) * self._masked_cross_entropy(prediction, clean, noisy).sum(1)

    def rate(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the cross-entropy summed over masked codes over the share that is masked, `(B,)` nats."""
        return self._masked_cross_entropy(prediction, clean, noisy).sum(1) / (1 - self.progress(t))

    def draw_moves(self, noisy: Tensor, t: float, s: float, random: RowGenerator) -> Tensor:
        """Draws the codes to reveal, `(B, M)` bool."""
        return self.draw_unmask(noisy, t, s, random)

    def known(self, noisy: Tensor, t: float) -> Tensor:
        """Returns the codes that are not masked, `(B, M)` bool."""
        return noisy != self.mask_id

    def written(self, moves: Tensor, s: float) -> Tensor:
        """Returns `moves`: codes that are revealed."""
        return moves

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
        """Reveals the codes of `moves`, drawn from the predicted logits `(B, M, K)`; the others do not change."""
        return self.reveal(noisy, moves, prediction[moves], random.uniform(noisy.shape[1]), draw)

    def start_log_ratio(self, clean: Tensor, noisy: Tensor, t: float) -> Tensor:
        """Returns zeros: which codes are masked does not depend on what they are."""
        return torch.zeros(len(noisy), dtype=torch.float64, device=noisy.device)

    def forced_step(self, clean: Tensor, noisy: Tensor, t: float, s: float, random: RowGenerator) -> Tensor:
        """Reveals codes as a step does, `(B, M)`."""
        return torch.where(self.draw_unmask(noisy, t, s, random), clean, noisy)

    def step_log_ratio(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, following: Tensor, t: float, s: float
    ) -> Tensor:
        """Returns the log-probabilities of the revealed codes, from `(B, M, K)` logits."""
        nats = self.cross_entropy(prediction.double(), clean)
        return -(nats * ((noisy == self.mask_id) & (following != self.mask_id))).sum(1)

    def check(self, latents: Tensor, batch_size: int, length: int) -> None:
        """Raises `ValueError` unless `latents` are `(batch_size, length)` int64 codes without the mask code."""
        shape = (batch_size, length)
        if latents.dtype != torch.int64 or latents.shape != shape:
            raise ValueError(
                f"`latents` have shape {tuple(latents.shape)} and dtype {latents.dtype}; this model takes codes of "
                f"shape {shape} and dtype torch.int64, as `encode_latents` gives them."
            )
        if latents.numel() and not 0 <= int(latents.min()) <= int(latents.max()) < self.mask_id:
            raise ValueError(
                f"`latents` hold codes from {int(latents.min())} to {int(latents.max())}; this model takes clean codes "
                f"from 0 to {self.mask_id - 1}."
            )

    def _masked_cross_entropy(self, logits: Tensor, clean: Tensor, noisy: Tensor) -> Tensor:
        return self.cross_entropy(logits, clean) * (noisy == self.mask_id)
