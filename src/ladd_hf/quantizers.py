"""Quantisers of Di-LADD: latent vectors to codes and back, with a gradient straight through. Paper, section 4."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed
from torch import Tensor, nn
from transformers import initialization as init
from vector_quantize_pytorch import FSQ, VectorQuantize
from vector_quantize_pytorch.vector_quantize_pytorch import Codebook as VectorCodebook

from .configuration_ladd import LaddConfig
from .randomness import RowGenerator


@dataclass
class QuantizedLatents:
    """What a quantiser gives.

    Attributes:
        vectors: `(B, M, D)`, the codes' vectors, with a gradient that passes to the input.
        codes: `(B, M)` int64.
        loss: commitment, scalar.
        unquantized: `(B, M, D)`, where the latents lie between the codes' vectors, before the choice of a code.
    """

    vectors: Tensor
    codes: Tensor
    loss: Tensor
    unquantized: Tensor


class Quantizer(nn.Module, ABC):
    """What the model asks of a quantiser, whichever it is.

    Attributes:
        accumulates: whether more batches of the same optimiser step follow; one that learns by itself waits for them.
    """

    accumulates = False

    def start_step(self) -> None:
        """An optimiser step begins: forgets what an unfinished one has shown it."""
        self.accumulates = False

    @abstractmethod
    def forward(self, latents: Tensor, frozen: bool, random: RowGenerator | None = None) -> QuantizedLatents:
        """Quantises `(B, M, D)` latents; `frozen` leaves the codebook as it is. `random` is for stochastic choices."""

    @abstractmethod
    def codes_to_vectors(self, codes: Tensor) -> Tensor:
        """Codebook vectors `(B, M, D)` of `(B, M)` codes."""


class VectorQuantizer(Quantizer):
    """Nearest code by cosine similarity; the codebook follows by exponential moving average, starts by k-means."""

    def __init__(self, config: LaddConfig) -> None:
        super().__init__()
        self.quantize = VectorQuantize(
            dim=config.latent_dim,
            codebook_size=config.codebook_size,
            decay=config.codebook_decay,
            use_cosine_sim=True,
            kmeans_init=config.codebook_kmeans_init,
            kmeans_iters=10,
            threshold_ema_dead_code=config.codebook_dead_code_threshold,
            commitment_weight=config.commitment_weight,
            rotation_trick=False,  # the paper's gradient is the plain straight-through one
        )
        self._started = False
        self._shown: list[tuple[Tensor, Tensor]] = []  # unit vectors and their codes, not learnt from yet

    def forward(self, latents: Tensor, frozen: bool, random: RowGenerator | None = None) -> QuantizedLatents:
        """Nearest codes; in training and not `frozen`, the codebook moves towards what it is shown.

        While it `accumulates` it stays as it is, and then moves once towards all that it has been shown: accumulated
        batches are one large batch to it, too. Its k-means start is on the first batch alone.
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
        """As of any quantiser."""
        super().start_step()
        self._shown.clear()

    def _learn(self, directions: Tensor, codes: Tensor) -> None:
        """Moves the codebook towards unit vectors `(n, D)` with these codes `(n,)`, or keeps them for later."""
        self._shown.append((directions, codes))
        if not self.accumulates:
            directions, codes = (torch.cat(parts) for parts in zip(*self._shown, strict=True))
            self._shown.clear()
            self.quantize._codebook.update_indices(directions[None], codes[None])

    def codes_to_vectors(self, codes: Tensor) -> Tensor:
        """Rows of the codebook, unit vectors `(B, M, D)`."""
        return self.quantize.get_output_from_indices(codes)

    def _has_started(self) -> bool:
        """Whether the codebook has had its k-means start, which only training may give it: it starts on its data."""
        self._started = self._started or bool(self.quantize._codebook.initted)
        return self._started


class FiniteScalarQuantizer(Quantizer):
    """Rounds each of a few bounded coordinates to its levels (Mentzer et al. 2023): no codebook to collapse."""

    def __init__(self, config: LaddConfig) -> None:
        super().__init__()
        with torch.device("cpu"):  # it reads values of its buffers while it is built, which the meta device has not
            self.quantize = FSQ(levels=list(config.fsq_levels or ()), dim=config.latent_dim)

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


def nothing_if_finite(latents: Tensor) -> Tensor:
    """A loss of 0, or of nan where latents are no numbers: no code stands for these, and nobody waits to look."""
    return (latents.detach() * 0).sum()


class Codebook(nn.Embedding):
    """Learned codebook vectors; the type tells `initialize_quantizer` to give them unit variance."""


class GumbelQuantizer(Quantizer):
    """Draws the code from a Gumbel-softmax over learned codes in training, takes the likeliest one otherwise."""

    def __init__(self, config: LaddConfig) -> None:
        super().__init__()
        self.temperature = config.gumbel_temperature
        self.code_logits = nn.Linear(config.latent_dim, config.codebook_size)
        self.codebook = Codebook(config.codebook_size, config.latent_dim)

    def forward(self, latents: Tensor, frozen: bool, random: RowGenerator | None = None) -> QuantizedLatents:
        """Codes drawn with `random` in training, the likeliest ones otherwise; the gradient is the softmax's."""
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
        """Rows of the learned codebook, `(B, M, D)`."""
        return self.codebook(codes)


QUANTIZERS: dict[str, Callable[[LaddConfig], Quantizer]] = {
    "vector": VectorQuantizer,
    "finite_scalar": FiniteScalarQuantizer,
    "gumbel": GumbelQuantizer,
}


@torch.no_grad()
def initialize_quantizer(module: nn.Module, config: LaddConfig) -> None:
    """Fills the buffers that `module` itself owns, if it is a quantiser's: a model built on the meta device lost them.

    Called by the model's `_init_weights` for each of its modules.
    """
    if isinstance(module, FSQ):
        fresh = FSQ(levels=list(config.fsq_levels or ()))
        for name in ("_levels", "_basis", "implicit_codebook"):
            buffer = getattr(module, name)
            init.copy_(buffer, getattr(fresh, name).to(buffer.device))
    elif isinstance(module, VectorQuantize):
        init.zeros_(module.zero)
    elif isinstance(module, VectorCodebook):
        if config.codebook_kmeans_init:
            init.zeros_(module.embed)
        else:
            init.copy_(module.embed, nn.functional.normalize(torch.randn_like(module.embed), dim=-1))
        init.copy_(module.embed_avg, module.embed)
        init.ones_(module.cluster_size)
        init.constant_(module.initted, not config.codebook_kmeans_init)
    elif isinstance(module, Codebook):
        init.normal_(module.weight)
