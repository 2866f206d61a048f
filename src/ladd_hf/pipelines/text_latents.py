"""Latents of given texts: encoding them, and texts around one of them or between two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..diffusion.rng import RowGenerator
from ..models.chunks import least_length
from ..utils.number_ranges import SHARE
from ..utils.padding import padded_texts
from ..utils.rounding import round_half_up
from ..utils.wrong_objects import described
from .inputs import Prompt, check_ids, prompt_ids, whole_number
from .interpolation import interpolate_latents
from .pipeline_output import LaddPipelineOutput, RunTuple


class TextLatents:
    """Part of a pipeline: the latents of texts, and runs that start from them."""

    if TYPE_CHECKING:
        model: Any
        tokenizer: PreTrainedTokenizerBase | None
        _execution_device: torch.device
        __call__: Any

    def encode(self, text: Prompt) -> Tensor:
        """Encodes texts to clean latents, `(B, M, D)` vectors or `(B, M)` codes, for use as `latents` in a call.

        `text` is one text or several, or their ids, as for `prompt`; texts get the special tokens of the training texts
        at both ends. Raises `ValueError` for texts with fewer tokens than latents, with mask tokens or longer than the
        model's limit, and for a model without latents.
        """
        return self._encode(prompt_ids(text, self.tokenizer, self.model.config, whole=True) or [])

    @torch.no_grad()
    def _encode(self, rows: list[list[int]]) -> Tensor:
        config, device = self.model.config, self._execution_device
        if not hasattr(self.model, "encode_latents"):
            raise ValueError(
                f"The model is {described(self.model)}, without `encode_latents`: give a LaddForDiffusionLM with "
                "latents to encode texts."
            )
        if not rows or not all(1 <= len(ids) <= config.max_position_embeddings for ids in rows):
            raise ValueError(
                f"The texts have {[len(ids) for ids in rows]} tokens; the encoder takes "
                f"{max(least_length(config), 1)} to {config.max_position_embeddings} each: give texts of such lengths."
            )
        for number, ids in enumerate(rows):
            check_ids(ids, config, f"Text {number}", masked=False)
        tokens, mask = padded_texts(rows, getattr(config, "pad_token_id", None) or 0)
        if (hook := getattr(self.model, "_hf_hook", None)) is not None:
            hook.pre_forward(self.model)  # an offloaded model is moved to the device only for its forward
        return self.model.encode_latents(tokens.to(device), None if mask is None else mask.to(device))

    def variations(
        self, text: Prompt, strength: float = 0.5, batch_size: int = 1, **options: Any
    ) -> LaddPipelineOutput | RunTuple:
        """Generates variations of one text or its ids: noises its latents to the time `strength` and denoises them.

        `options` are those of a call; the default `length` is that of `text`.
        """
        (ids,) = self._single(text, "text")
        batch_size = whole_number(batch_size, "batch_size")
        latents = self._encode([ids])
        options = {"length": len(ids), **options}
        latents = latents.expand(batch_size, *latents.shape[1:])
        return self(latents=latents, strength=strength, batch_size=batch_size, **options)

    def interpolate(
        self,
        first: Prompt,
        second: Prompt,
        batch_size: int | None = None,
        weights: Sequence[float] | None = None,
        **options: Any,
    ) -> LaddPipelineOutput | RunTuple:
        """Generates texts from latents interpolated between those of two texts.

        Args:
            first, second: each one text or its ids.
            batch_size: number of texts; 5 by default. The first row is generated from the first text's latents, the
                last from the second's.
            weights: the share of the second text in each row, from 0 to 1, instead of `batch_size` even ones.
            options: of a call; the default `length` is interpolated too.

        Raises `ValueError` for several texts, for both `batch_size` and `weights`, and for a weight that is no share.
        """
        (ids,), (other_ids,) = self._single(first, "first"), self._single(second, "second")
        shares = _shares(batch_size, weights)
        order = RowGenerator.from_seed(0, torch.zeros(1, dtype=torch.int64))  # a fixed order of positions
        latents = interpolate_latents(self._encode([ids]), self._encode([other_ids]), shares, order)
        lengths = [round_half_up(len(ids) + share * (len(other_ids) - len(ids))) for share in shares.tolist()]
        return self(latents=latents, batch_size=len(shares), **{"length": lengths, **options})

    def _single(self, text: Prompt, name: str) -> list[list[int]]:
        rows = prompt_ids(text, self.tokenizer, self.model.config, whole=True) or []
        if len(rows) != 1:
            raise ValueError(f"`{name}` holds {len(rows)} texts; give one.")
        return rows


def _shares(count: int | None, weights: Sequence[float] | None) -> Tensor:
    """Returns the second text's share in each row, `(B,)`."""
    if weights is None:
        return torch.linspace(0, 1, whole_number(5 if count is None else count, "batch_size"), dtype=torch.float64)
    if count is not None or not len(weights):
        given = "empty" if not len(weights) else f"given beside `batch_size` {count}"
        raise ValueError(f"`weights` is {given}; give the share of the second text in each row, and no `batch_size`.")
    for weight in weights:
        SHARE.check("weights", weight)
    return torch.tensor(weights, dtype=torch.float64)
