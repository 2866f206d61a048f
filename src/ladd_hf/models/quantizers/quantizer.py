"""Quantisers of Di-LADD: latent vectors to codes and back, with a straight-through gradient. Paper, section 4."""

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
    """Output of a quantiser.

    Attributes:
        vectors: `(B, M, D)`, the codes' vectors, with a gradient that passes to the input.
        codes: `(B, M)` int64.
        loss: commitment, scalar.
        unquantized: `(B, M, D)`, the latents before the choice of a code, in the space of the codes' vectors.
    """

    vectors: Tensor
    codes: Tensor
    loss: Tensor
    unquantized: Tensor


class Quantizer(nn.Module, ABC):
    """Interface of quantisers.

    Attributes:
        accumulates: true if more batches of the same optimiser step follow; a codebook with its own update waits for
            them.
    """

    accumulates = False

    def start_step(self) -> None:
        """Begins an optimiser step: drops the inputs of an unfinished one."""
        self.accumulates = False

    @abstractmethod
    def forward(self, latents: Tensor, frozen: bool, random: RowGenerator | None = None) -> QuantizedLatents:
        """Quantises `(B, M, D)` latents; `frozen` fixes the codebook. `random` is for stochastic choices."""

    @abstractmethod
    def codes_to_vectors(self, codes: Tensor) -> Tensor:
        """Returns codebook vectors `(B, M, D)` of `(B, M)` codes."""


def nothing_if_finite(latents: Tensor) -> Tensor:
    """Returns a loss of 0, or of nan for non-finite latents, which have no code, without synchronising."""
    return (latents.detach() * 0).sum()


Reset = Callable[[Any, Any], None]
_RESETS: dict[type[nn.Module], Reset] = {}


def resets(kind: type[nn.Module]) -> Callable[[Reset], Reset]:
    """Decorates a function that fills the buffers and weights owned by a module of this kind, given the module and the
    options of its quantiser."""

    def added(reset: Reset) -> Reset:
        _RESETS[kind] = reset
        return reset

    return added


@torch.no_grad()
def reset_if_of_quantizer(module: nn.Module, spec: Spec) -> None:
    """Fills the weights owned by `module`, if it is of the quantiser `spec`: those built on the meta device are empty.

    Called by the model's `_init_weights` for each of its modules that is not filled from a checkpoint.
    """
    for kind, reset in _RESETS.items():
        if isinstance(module, kind):
            reset(module, QUANTIZERS.build(spec))
