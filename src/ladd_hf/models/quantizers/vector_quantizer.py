"""Learned codebook: the nearest code by cosine similarity, updated by moving averages."""

from __future__ import annotations

import torch
import torch.distributed
from torch import Tensor, nn
from transformers import initialization as init
from vector_quantize_pytorch import VectorQuantize
from vector_quantize_pytorch.vector_quantize_pytorch import Codebook

from ...diffusion.rng import RowGenerator
from .quantizer import QuantizedLatents, Quantizer, nothing_if_finite, resets
from .quantizer_options import VectorOptions


class VectorQuantizer(Quantizer):
    """Nearest code by cosine similarity; the codebook is an exponential moving average, initialised by k-means."""

    def __init__(self, options: VectorOptions, latent_dim: int, codebook_size: int) -> None:
        super().__init__()
        self.quantize = VectorQuantize(
            dim=latent_dim,
            codebook_size=codebook_size,
            decay=options.decay,
            use_cosine_sim=True,
            kmeans_init=options.kmeans_init,
            kmeans_iters=10,
            threshold_ema_dead_code=options.dead_code_threshold,
            commitment_weight=options.commitment_weight,
            rotation_trick=False,  # the paper's gradient is the plain straight-through one
        )
        self._started = False
        self._shown: list[tuple[Tensor, Tensor]] = []  # unit vectors and their codes, for the next update

    def forward(self, latents: Tensor, frozen: bool, random: RowGenerator | None = None) -> QuantizedLatents:
        """Returns the nearest codes; in training and not `frozen`, the codebook is updated towards its inputs.

        While it `accumulates` it does not change, and then is updated once with all inputs: accumulated batches count
        as one large batch. Its k-means start uses only the first batch.
        """
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if self.training and not frozen and distributed and not self.quantize._codebook.use_ddp:
            raise RuntimeError(
                "The model was built before the process group, so each process would learn its own codebook: create "
                "the training arguments (or accelerate's PartialState) first, then the model."
            )
        if (frozen or not self.training) and not self._has_started():
            codes = torch.zeros(latents.shape[:2], dtype=torch.int64, device=latents.device)
            return QuantizedLatents(torch.zeros_like(latents), codes, nothing_if_finite(latents), latents)
        directions = nn.functional.normalize(latents, dim=-1)
        vectors, codes, loss = self.quantize(latents.float(), freeze_codebook=True)
        if self.training and not frozen:
            self._learn(directions.detach().float().flatten(0, 1), codes.flatten())
        loss = loss.sum() + nothing_if_finite(latents)
        return QuantizedLatents(vectors.to(latents.dtype), codes.long(), loss, directions)

    def start_step(self) -> None:
        """See [`Quantizer.start_step`]."""
        super().start_step()
        self._shown.clear()

    def _learn(self, directions: Tensor, codes: Tensor) -> None:
        """Updates the codebook towards unit vectors `(n, D)` with these codes `(n,)`, or keeps them for later."""
        self._shown.append((directions, codes))
        if not self.accumulates:
            directions, codes = (torch.cat(parts) for parts in zip(*self._shown, strict=True))
            self._shown.clear()
            self.quantize._codebook.update_indices(directions[None], codes[None])

    def codes_to_vectors(self, codes: Tensor) -> Tensor:
        """Returns rows of the codebook, unit vectors `(B, M, D)`."""
        return self.quantize.get_output_from_indices(codes)

    def _has_started(self) -> bool:
        """True if the codebook has had its k-means start, which happens only in training, on the training data."""
        self._started = self._started or bool(self.quantize._codebook.initted)
        return self._started


@resets(VectorQuantize)
def _reset_quantize(module: VectorQuantize, options: VectorOptions) -> None:
    init.zeros_(module.zero)


@resets(Codebook)
def _reset_codebook(module: Codebook, options: VectorOptions) -> None:
    """Resets the codebook to its state before the k-means start, or to random directions without one."""
    if options.kmeans_init:
        init.zeros_(module.embed)
    else:
        init.copy_(module.embed, nn.functional.normalize(torch.randn_like(module.embed), dim=-1))
    init.copy_(module.embed_avg, module.embed)
    init.ones_(module.cluster_size)
    init.constant_(module.initted, not options.kmeans_init)
