"""Quantisers by name, and the options of each, which build it. Imports their libraries only then."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar

from torch import nn

from ...utils.number_ranges import COUNT_OR_ZERO, POSITIVE, SHARE, WEIGHT, whole
from ...utils.options import REQUIRED, Options, option
from ...utils.registry import Registry

_LEVEL = whole(3, "levels of at least 3 each")


class QuantizerOptions(Options, ABC):
    """Options of a quantiser, a frozen dataclass that is registered by `register_quantizer` and builds the quantiser.

    Raises `ValueError` for options out of their ranges.
    """

    setting = "quantizer"

    @property
    def num_codes(self) -> int | None:
        """Number K of codes if the options determine it, `None` if it is the configuration's `codebook_size`."""
        return None

    @abstractmethod
    def build(self, latent_dim: int, codebook_size: int) -> nn.Module:
        """Returns the [`Quantizer`] of vectors of size D to K codes, with fresh weights."""


class _Included(QuantizerOptions):
    """Options of a quantiser of this package, `(module, class)`; the module is imported where it is built."""

    network: ClassVar[tuple[str, str]]

    def build(self, latent_dim: int, codebook_size: int) -> nn.Module:
        """See [`QuantizerOptions.build`]."""
        module, name = self.network
        network: nn.Module = getattr(import_module(f".{module}", __package__), name)(self, latent_dim, codebook_size)
        return network


QUANTIZERS: Registry[type[QuantizerOptions]] = Registry("quantizer")
register_quantizer = QUANTIZERS.register  # registers options under a name for `LaddConfig.quantizer`


@register_quantizer("vector")
@dataclass(frozen=True)
class VectorOptions(_Included):
    """Options of the learned codebook.

    Args:
        decay: decay of the codebook vectors' moving averages, from 0 to 1.
        kmeans_init: initialise the codebook by k-means on the first batch, otherwise by random directions.
        dead_code_threshold: a code assigned to fewer vectors than this is moved to one of the batch; 0: never.
        commitment_weight: weight of the loss that keeps the encoder near its codes.
    """

    decay: float = option(0.95, SHARE)
    kmeans_init: bool = option(True, bool)
    dead_code_threshold: int = option(2, COUNT_OR_ZERO)
    commitment_weight: float = option(0.1, WEIGHT)
    network = ("vector_quantizer", "VectorQuantizer")


@register_quantizer("finite_scalar")
@dataclass(frozen=True)
class FiniteScalarOptions(_Included):
    """Options of finite scalar quantisation.

    Args:
        levels: number of levels of each coordinate, 3 or more; their product is the number of codes.
    """

    levels: Sequence[int] = option(REQUIRED, list)
    network = ("finite_scalar", "FiniteScalarQuantizer")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.levels or not all(level in _LEVEL for level in self.levels):
            raise ValueError(
                f"`quantizer.levels` is {list(self.levels)}; give levels of at least 3 each whose product is the "
                "codebook size, such as [8, 8] for 64."
            )

    @property
    def num_codes(self) -> int:
        """Product of the levels."""
        return math.prod(self.levels)


@register_quantizer("gumbel")
@dataclass(frozen=True)
class GumbelOptions(_Included):
    """Options of the Gumbel-softmax choice.

    Args:
        temperature: temperature of the softmax that gradients pass through.
    """

    temperature: float = option(1.0, POSITIVE)
    network = ("gumbel", "GumbelQuantizer")
