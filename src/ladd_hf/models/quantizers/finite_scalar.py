"""Finite scalar quantisation: coordinates rounded to a few levels each."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import initialization as init
from vector_quantize_pytorch import FSQ

from ...diffusion.rng import RowGenerator
from .quantizer import QuantizedLatents, Quantizer, nothing_if_finite, resets
from .quantizer_options import FiniteScalarOptions


class FiniteScalarQuantizer(Quantizer):
    """Rounds each of a few bounded coordinates to its levels (Mentzer et al. 2023): no codebook to collapse."""

    def __init__(self, options: FiniteScalarOptions, latent_dim: int, codebook_size: int) -> None:
        super().__init__()
        with torch.device("cpu"):  # it reads values of its buffers while it is built, which the meta device has not
            self.quantize = FSQ(levels=list(options.levels), dim=latent_dim)

    def forward(self, latents: Tensor, frozen: bool, random: RowGenerator | None = None) -> QuantizedLatents:
        """Bounded and rounded coordinates; there is no codebook to learn, so `frozen` changes nothing."""
        vectors, codes = self.quantize(latents)
        codes = codes.long().clamp(0, len(self.quantize.implicit_codebook) - 1)
        return QuantizedLatents(vectors, codes, nothing_if_finite(latents), self._unquantized(latents))

    def _unquantized(self, latents: Tensor) -> Tensor:
        """The coordinates bounded as the quantiser bounds them, but not rounded, in the codes' space."""
        levels = self.quantize._levels
        half = (levels - 1) * (1 + 1e-3) / 2
        offset = 0.5 * (levels % 2 == 0)
        bounded = torch.tanh(self.quantize.project_in(latents).float() + torch.atanh(offset / half)) * half - offset
        return self.quantize.project_out((bounded / (levels // 2)).to(latents.dtype))

    def codes_to_vectors(self, codes: Tensor) -> Tensor:
        """The levels a code stands for, projected to `(B, M, D)`."""
        codebook = self.quantize.implicit_codebook  # (K, number of levels); exact in half precision too
        weight = next(self.parameters(), codebook)  # an engine may narrow the weights and leave the buffers
        return self.quantize.project_out(codebook[codes].to(weight.dtype))


@resets(FSQ)
def _reset_levels(module: FSQ, options: FiniteScalarOptions) -> None:
    fresh = FSQ(levels=list(options.levels))
    for name in ("_levels", "_basis", "implicit_codebook"):
        buffer = getattr(module, name)
        init.copy_(buffer, getattr(fresh, name).to(buffer.device))
