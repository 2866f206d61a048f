"""Output of a pipeline's run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from diffusers.utils import BaseOutput
from torch import Tensor

# Texts or sequences, latents, number of evaluations, lengths.
RunTuple = tuple[Any, Tensor | None, int, Any]


@dataclass
class LaddPipelineOutput(BaseOutput):
    """Output of a run.

    By index, and as the plain tuple of `return_dict=False`, it is the texts, or without them the sequences; then the
    latents, the number of evaluations and the lengths.

    Attributes:
        sequences: `(B, S)` token ids, padded at the end of shorter rows.
        texts: the decoded sequences, or `None` for `output_type="seq"`.
        latents: `(B, M, D)` or `(B, M)` clean latents of the sequences, or `None`.
        nfe: number of denoiser evaluations, including the steps of the latents: one for each step, also if it is
            guided, since both halves of guidance are one call of the denoiser, on twice the rows.
        lengths: `(B,)` number of tokens of each row, without padding.
        row_evaluations: rows in all of these evaluations; over B, a sample's share, in which guided steps count twice,
            idle rows that are skipped not at all, and rows whose latents are predicted without their tokens, in a step
            that writes both, twice.
    """

    sequences: Tensor
    texts: list[str] | None = None
    latents: Tensor | None = None
    nfe: int = 0
    lengths: Tensor | None = None
    row_evaluations: int = 0

    def to_tuple(self) -> RunTuple:
        """Returns the four that `return_dict=False` returns."""
        return self.sequences if self.texts is None else self.texts, self.latents, self.nfe, self.lengths
