"""Proposals of latents for a text: draws from a law around the encoder's output, whose probabilities are known.

A bound that averages over proposals, see `marginal_bound.py`, is valid for any such law; it is the tighter, the more
the law resembles the posterior p(y | x) of the model.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..utils.number_ranges import SHARE
from .channels import EncodedLatents
from .rng import RowGenerator

_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


class Proposals(Protocol):
    """A law of clean latents for each text of a batch."""

    def draw(self, count: int, random: RowGenerator) -> tuple[Tensor | None, Tensor]:
        """Draws `(count, B, M)` or `(count, B, M, D)` latents, and returns the logarithms of their probabilities
        `(count, B)`, those of another part of the model being left out where they cancel."""


@dataclass(frozen=True)
class CodeProposals:
    """Codes drawn independently for each place, from one of several laws, each of them for an equal share of the draws.

    A draw counts with its probability under the whole mixture, so that a law which does not fit costs no more than its
    share of the draws.

    Attributes:
        logits: `(W, B, M, K)` of each law.
    """

    logits: Tensor

    @classmethod
    def near(cls, vectors: Tensor, codebook: Tensor, widths: Sequence[float]) -> CodeProposals:
        """Returns codes with the probabilities of Gaussians around the encoder's vectors.

        Args:
            vectors: `(B, M, D)`, before quantisation.
            codebook: `(K, D)`.
            widths: their standard deviations, as shares of the root mean square distance of a text's vectors to the
                nearest codes.
        """
        apart = torch.cdist(vectors.double(), codebook.double().expand(len(vectors), *codebook.shape)).square()
        nearest = apart.amin(-1, keepdim=True).mean((1, 2), keepdim=True).clamp(min=1e-12)  # (B, 1, 1)
        scaled = -apart * vectors.shape[-1] / (2 * nearest)
        return cls(torch.stack([scaled / width**2 for width in widths]))

    @classmethod
    def around(cls, codes: Tensor, codebook_size: int, share: float) -> CodeProposals:
        """Returns the codes `(B, M)`, each of which is drawn from the whole codebook in a share of the proposals."""
        uniform = torch.full((*codes.shape, codebook_size), share / codebook_size, dtype=torch.float64)
        uniform = uniform.to(codes.device)
        kept = torch.full_like(codes, 1 - share, dtype=torch.float64)[..., None]
        return cls(uniform.scatter_add(-1, codes[..., None], kept).log()[None])

    def draw(self, count: int, random: RowGenerator) -> tuple[Tensor, Tensor]:
        """Draws `(count, B, M)` codes; see [`Proposals`]."""
        laws = len(self.logits)
        law = (random.uniform(count) * laws).long().T  # (count, B)
        uniform = random.uniform(count, self.logits.shape[2]).permute(0, 2, 1).contiguous()  # (B, M, count)
        codes = torch.zeros(uniform.shape, dtype=torch.long, device=uniform.device)
        for number, logits in enumerate(self.logits):
            rising = logits.double().softmax(-1).cumsum(-1)  # (B, M, K)
            drawn = torch.searchsorted(rising, uniform * rising[..., -1:], right=True)
            codes = torch.where((law == number).T[:, None], drawn, codes)
        each = torch.stack([one.double().log_softmax(-1).gather(-1, codes).sum(1) for one in self.logits])
        return codes.permute(2, 0, 1), (each.logsumexp(0) - math.log(laws)).T


@dataclass(frozen=True)
class EveryCode:
    """All combinations of codes, each once: their mean is the exact sum over codes, not an estimate of it.

    Attributes:
        codebook_size, places: K and M; K^M combinations.
        rows: texts B.
    """

    codebook_size: int
    places: int
    rows: int

    @property
    def count(self) -> int:
        """Number of combinations."""
        return self.codebook_size**self.places

    def draw(self, count: int, random: RowGenerator) -> tuple[Tensor, Tensor]:
        """Returns the combinations, `(count, B, M)`, where `count` is the number of them; see [`Proposals`]."""
        every = torch.tensor(list(itertools.product(range(self.codebook_size), repeat=self.places)))
        codes = every.to(random.keys.device)[:, None].expand(-1, self.rows, -1)
        return codes, torch.full(codes.shape[:2], -math.log(count), dtype=torch.float64, device=codes.device)


@dataclass(frozen=True)
class AnchorProposals:
    """Vectors that are drawn as the numbers of their anchors are.

    Attributes:
        numbers: the law of the numbers.
        points: `(K, D)` anchors.
    """

    numbers: CodeProposals | EveryCode
    points: Tensor

    def draw(self, count: int, random: RowGenerator) -> tuple[Tensor, Tensor]:
        """Draws `(count, B, M, D)` anchors; see [`Proposals`]."""
        numbers, log_law = self.numbers.draw(count, random)
        return self.points[numbers], log_law


def combinations(proposals: Proposals) -> int | None:
    """Returns the number of combinations if each of them is taken once, `None` if they are drawn."""
    numbers = proposals.numbers if isinstance(proposals, AnchorProposals) else proposals
    return numbers.count if isinstance(numbers, EveryCode) else None


@dataclass(frozen=True)
class NoProposals:
    """Nothing to draw: a model of tokens alone, or latents whose whole law is that of their noise.

    Attributes:
        latents: `(B, ...)` the same clean latents for each draw, or `None` without latents.
        rows: texts B.
    """

    latents: Tensor | None
    rows: int

    def draw(self, count: int, random: RowGenerator) -> tuple[Tensor | None, Tensor]:
        """Returns the latents `count` times; see [`Proposals`]."""
        latents = None if self.latents is None else self.latents.expand(count, *self.latents.shape)
        return latents, torch.zeros(count, self.rows, dtype=torch.float64, device=random.keys.device)


def proposals_around(
    encoded: EncodedLatents, codebook: Tensor | None, codebook_size: int, count: int, width: float | None = None
) -> Proposals:
    """Returns proposals around the encoder's output.

    Args:
        encoded: the texts' latents.
        codebook: `(K, D)` vectors of the codes in the space of `encoded.unquantized`, `None` if they are not known; or
            the anchors that continuous latents are drawn from, `None` for those without.
        codebook_size: K; not read for continuous latents.
        count: number of proposals; all combinations of codes are taken, if there are no more than that.
        width: spread of codes, see [`CodeProposals.near`]; by default several, of which a half to four fit the models
            that were tried. Without vectors the share of codes that are drawn from the whole codebook, 0.1.

    Raises `ValueError` for a share above 1.
    """
    if encoded.codes is None:
        if codebook is None:
            return NoProposals(encoded.vectors, len(encoded.vectors))
        vectors = encoded.vectors if encoded.unquantized is None else encoded.unquantized
        return AnchorProposals(_numbers(vectors, codebook, count, width), codebook)
    rows, places = encoded.codes.shape
    if codebook_size**places <= count:
        return EveryCode(codebook_size, places, rows)
    if codebook is None or encoded.unquantized is None:
        share = 0.1 if width is None else width
        SHARE.check("proposal_width", share)
        return CodeProposals.around(encoded.codes, codebook_size, share)
    return _numbers(encoded.unquantized, codebook, count, width)


def _numbers(vectors: Tensor, codebook: Tensor, count: int, width: float | None) -> CodeProposals | EveryCode:
    """Returns all combinations of codes if there are no more than `count`, or those near `(B, M, D)` vectors."""
    rows, places = vectors.shape[:2]
    if len(codebook) ** places <= count:
        return EveryCode(len(codebook), places, rows)
    return CodeProposals.near(vectors, codebook, _WIDTHS if width is None else (width,))
