"""A bound on the negative log-likelihood of texts, in the units that are reported."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from torch import Tensor


class Bound(ABC):
    """Nats of the examples of a batch.

    Attributes:
        num_tokens: tokens of each example, without padding, `(B,)`.
    """

    num_tokens: Tensor

    @property
    @abstractmethod
    def total_nats(self) -> Tensor:
        """Bound of each example in nats, `(B,)` float64."""

    @property
    def nats_per_token(self) -> float:
        """Total bound divided by the number of tokens in the batch."""
        return float(self.total_nats.sum() / self.num_tokens.sum())

    @property
    def nats_per_token_stderr(self) -> float:
        """Standard error of `nats_per_token` over the texts, as a ratio of sums; nan for a single text."""
        if len(self.total_nats) < 2:
            return math.nan
        off = self.total_nats - self.nats_per_token * self.num_tokens
        return float(off.std() * math.sqrt(len(off)) / self.num_tokens.sum())

    @property
    def perplexity(self) -> float:
        """Returns exp(nats per token)."""
        return math.exp(self.nats_per_token)

    @property
    def bits_per_token(self) -> float:
        """Nats per token over ln 2: bits per character if tokens are characters."""
        return self.nats_per_token / math.log(2)

    def bits_per_character(self, num_characters: int) -> float:
        """Returns the total bound in bits divided by the number of characters of the batch's texts."""
        return float(self.total_nats.sum()) / (num_characters * math.log(2))


class TotalBound(Bound):
    """Bounds of texts that were computed in parts.

    Args:
        nats: `(N,)` of each text.
        num_tokens: `(N,)`.
    """

    def __init__(self, nats: Tensor, num_tokens: Tensor) -> None:
        self.nats, self.num_tokens = nats, num_tokens

    @property
    def total_nats(self) -> Tensor:
        """Bound of each text in nats, `(N,)`."""
        return self.nats
