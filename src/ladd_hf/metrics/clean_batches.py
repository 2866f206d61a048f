"""Batches of clean texts for measurements of models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..diffusion.step_counts import maskable_tokens
from ..utils.wrong_objects import described

# A batch: `(B, S)` ids, or a mapping as `LaddCollator` makes it.
Batch = Tensor | Mapping[str, Tensor]


@dataclass(frozen=True)
class CleanBatch:
    """Clean texts and their latents.

    Attributes:
        tokens: `(B, S)`.
        attention_mask: `(B, S)`, or `None` without padding.
        clean: `(B, M, D)` latents, or `(B, M)` codes.
        labels: `(B, S)`, -100 at tokens of a context, or `None` without one.
    """

    tokens: Tensor
    attention_mask: Tensor | None
    clean: Tensor
    labels: Tensor | None = None

    @property
    def maskable(self) -> Tensor:
        """The tokens that are neither padding nor context, `(B, S)` bool."""
        return maskable_tokens(self.tokens if self.labels is None else self.labels, self.attention_mask)


@torch.no_grad()
def encoded_batches(model: Any, batches: Iterable[Batch]) -> Iterator[CleanBatch]:
    """Yields batches with the latents of their texts, on the model's device; the codebook learns nothing from them.

    Args:
        model: a denoiser with latents.
        batches: `(B, S)` ids each, or mappings with `input_ids`, and, if there are any, `attention_mask`, `labels` and
            `precomputed_latents`.

    Raises `ValueError` for anything else, and for a model without latents.
    """
    if model.latent_channel is None:
        raise ValueError("The model has no latents (`latent_type` 'none'), which this measures: give one that has.")
    device = getattr(model, "device", None)
    for batch in batches:
        given = {"input_ids": batch} if isinstance(batch, Tensor) else batch
        tokens = given.get("input_ids") if isinstance(given, Mapping) else None
        if not isinstance(tokens, Tensor) or tokens.ndim != 2:
            raise ValueError(
                f"A batch is {described(batch)}; give (batch, length) ids, or a mapping with such `input_ids`."
            )
        beside = (given.get(name) for name in ("attention_mask", "labels", "precomputed_latents"))
        mask, labels, stored = (None if one is None else one.to(device) for one in beside)
        tokens = tokens.to(device)
        options = {} if stored is None else {"precomputed_latents": stored}
        yield CleanBatch(tokens, mask, model.encode(tokens, mask, update_codebook=False, **options).clean, labels)
