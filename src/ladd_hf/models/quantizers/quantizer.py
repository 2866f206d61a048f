"""Quantisers of Di-LADD: latent vectors to codes and back, with a gradient straight through. Paper, section 4."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...diffusion.rng import RowGenerator
from ...utils.registry import Spec
from .quantizer_options import QUANTIZERS


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


def nothing_if_finite(latents: Tensor) -> Tensor:
    """A loss of 0, or of nan where latents are no numbers: no code stands for these, and nobody waits to look."""
    return (latents.detach() * 0).sum()


Reset = Callable[[Any, Any], None]
_RESETS: dict[type[nn.Module], Reset] = {}


def resets(kind: type[nn.Module]) -> Callable[[Reset], Reset]:
    """Decorates what fills the buffers and weights that a module of this kind itself owns, given the module and the
    options of its quantiser."""

    def added(reset: Reset) -> Reset:
        _RESETS[kind] = reset
        return reset

    return added


@torch.no_grad()
def reset_if_of_quantizer(module: nn.Module, spec: Spec) -> None:
    """Fills what `module` itself owns, if it is of the quantiser `spec`: a model built on the meta device has lost it.

    Called by the model's `_init_weights` for each of its modules that a checkpoint has not filled.
    """
    for kind, reset in _RESETS.items():
        if isinstance(module, kind):
            reset(module, QUANTIZERS.build(spec))
