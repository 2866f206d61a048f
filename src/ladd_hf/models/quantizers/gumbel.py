"""Gumbel-softmax over learned codes."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import initialization as init

from ...diffusion.rng import RowGenerator
from .quantizer import QuantizedLatents, Quantizer, nothing_if_finite, resets
from .quantizer_options import GumbelOptions


class Codebook(nn.Embedding):
    """Learned codebook vectors; the type gives them unit variance."""


class GumbelQuantizer(Quantizer):
    """Draws the code from a Gumbel-softmax over learned codes in training, takes the likeliest one otherwise."""

    def __init__(self, options: GumbelOptions, latent_dim: int, codebook_size: int) -> None:
        super().__init__()
        self.temperature = options.temperature
        self.code_logits = nn.Linear(latent_dim, codebook_size)
        self.codebook = Codebook(codebook_size, latent_dim)

    def forward(self, latents: Tensor, frozen: bool, random: RowGenerator | None = None) -> QuantizedLatents:
        """Draws codes with `random` in training, takes the likeliest otherwise; the gradient is the softmax's."""
        logits = self.code_logits(latents).float()  # (B, M, K)
        if self.training and not frozen and random is not None:
            uniform = random.uniform(*logits.shape[1:]).clamp(1e-300, 1 - 1e-16)
            logits = logits - (-uniform.log()).log().to(logits)
        codes = logits.argmax(-1)
        soft = (logits / self.temperature).softmax(-1)
        hard = nn.functional.one_hot(codes, logits.shape[-1]).to(soft)
        choice = hard + soft - soft.detach()  # the hard choice, with the soft one's gradient
        vectors = choice.to(latents.dtype) @ self.codebook.weight
        return QuantizedLatents(
            vectors, codes, nothing_if_finite(latents), soft.to(latents.dtype) @ self.codebook.weight
        )

    def codes_to_vectors(self, codes: Tensor) -> Tensor:
        """Returns rows of the learned codebook, `(B, M, D)`."""
        return self.codebook(codes)


@resets(Codebook)
def _reset_codebook(module: Codebook, options: GumbelOptions) -> None:
    init.normal_(module.weight)
