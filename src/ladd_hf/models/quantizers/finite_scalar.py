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
        # its constructor reads values of buffers, which the meta device lacks, as of vector-quantize-pytorch 1.32.0
        with torch.device("cpu"):
            self.quantize = FSQ(levels=list(options.levels), dim=latent_dim)

    def forward(self, latents: Tensor, frozen: bool, random: RowGenerator | None = None) -> QuantizedLatents:
        """Returns bounded and rounded coordinates; there is no codebook, so `frozen` has no effect."""
        vectors, codes = self.quantize(latents)
        codes = codes.long().clamp(0, len(self.quantize.implicit_codebook) - 1)
        return QuantizedLatents(vectors, codes, nothing_if_finite(latents), self._unquantized(latents))

    def _unquantized(self, latents: Tensor) -> Tensor:
        """Returns the coordinates bounded by the quantiser, but not rounded, in the codes' space."""
        levels = self.quantize._levels
        half = (levels - 1) * (1 + 1e-3) / 2
        offset = 0.5 * (levels % 2 == 0)
        bounded = torch.tanh(self.quantize.project_in(latents).float() + torch.atanh(offset / half)) * half - offset
        return self.quantize.project_out((bounded / (levels // 2)).to(latents.dtype))

    def codes_to_vectors(self, codes: Tensor) -> Tensor:
        """Returns the levels of each code, projected to `(B, M, D)`."""
        codebook = self.quantize.implicit_codebook  # (K, number of levels); exact in half precision too
        weight = next(self.parameters(), codebook)  # the weights may have a lower precision than the buffers
        return self.quantize.project_out(codebook[codes].to(weight.dtype))


@resets(FSQ)
def _reset_levels(module: FSQ, options: FiniteScalarOptions) -> None:
    fresh = FSQ(levels=list(options.levels))
    for name in ("_levels", "_basis", "implicit_codebook"):
        buffer = getattr(module, name)
        init.copy_(buffer, getattr(fresh, name).to(buffer.device))
