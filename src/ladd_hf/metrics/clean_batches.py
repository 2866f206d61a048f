"""Batches of clean texts for measurements of models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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
    """

    tokens: Tensor
    attention_mask: Tensor | None
    clean: Tensor

    @property
    def real(self) -> Tensor:
        """The tokens that are no padding, `(B, S)` bool."""
        return (
            torch.ones_like(self.tokens, dtype=torch.bool) if self.attention_mask is None else self.attention_mask > 0
        )


@torch.no_grad()
def encoded_batches(model: Any, batches: Iterable[Batch]) -> Iterator[CleanBatch]:
    """Yields batches with the latents of their texts, on the model's device; the codebook learns nothing from them.

    Args:
        model: a denoiser with latents.
        batches: `(B, S)` ids each, or mappings with `input_ids`, and, if there are any, `attention_mask` and
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
        mask, stored = given.get("attention_mask"), given.get("precomputed_latents")
        tokens, mask, stored = (None if one is None else one.to(device) for one in (tokens, mask, stored))
        assert tokens is not None
        options = {} if stored is None else {"precomputed_latents": stored}
        yield CleanBatch(tokens, mask, model.encode(tokens, mask, update_codebook=False, **options).clean)
