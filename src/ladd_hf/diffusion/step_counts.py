"""Counts of the tokens and examples of an optimiser step, the divisors of its loss terms. Paper, section 6."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED_LABEL = -100  # label of a token that is neither noised nor scored


@dataclass(frozen=True)
class StepCounts:
    """Counts over all accumulated batches and processes of an optimiser step, scalars of at least 1.

    Gradients are averaged over processes, so each count is divided by the number of processes. The mean over processes
    of the sums over accumulated batches is then the loss of one large batch.

    Attributes:
        tokens: tokens that can be masked: no padding, no prompt.
        examples: texts.
        examples_with_latents: texts that keep their latents, see `latent_dropout`.
    """

    tokens: Tensor
    examples: Tensor
    examples_with_latents: Tensor

    @classmethod
    def of_batch(cls, maskable: Tensor, dropped: Tensor) -> StepCounts:
        """Counts a single batch: `maskable` `(B, S)` bool, and `dropped` `(B,)` bool, examples with dropped latents."""
        return cls.of(batch_counts(maskable, dropped))

    @classmethod
    def of(cls, totals: Tensor, processes: int = 1) -> StepCounts:
        """Builds the counts from `batch_counts` `(3,)` summed over batches and processes."""
        return cls(*(totals.double().clamp(min=1) / processes).unbind())


def batch_counts(maskable: Tensor, dropped: Tensor) -> Tensor:
    """Counts maskable tokens, texts and texts that keep their latents: `(3,)` int64, without a device sync."""
    return torch.stack([maskable.sum(), torch.ones_like(dropped, dtype=torch.int64).sum(), (~dropped).sum()])


def maskable_tokens(labels: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Returns the tokens to noise and score, `(B, S)` bool: all but those labelled -100 and padding."""
    maskable = labels != IGNORED_LABEL
    return maskable if attention_mask is None else maskable & attention_mask.bool()


def total(counts: Iterable[Tensor], device: torch.device) -> Tensor:
    """Sums `batch_counts` on a device: `(3,)` int64, zeros if there are none."""
    return sum((one.to(device) for one in counts), start=torch.zeros(3, dtype=torch.int64, device=device))
