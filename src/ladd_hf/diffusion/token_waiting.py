"""Tokens that wait for their latents, so that a run does not draw both in one step, without knowing of each other.

What a step t -> s draws, it draws independently, given its start. A latent that becomes known in the step and a token
that reads it then contradict each other where the latent says much of the token. Under a law of waiting, such a token
stays masked for the step; in every later step that it does not wait in, it is revealed with the usual probability
(alpha(s) - alpha(t)) / (1 - alpha(t)), and the run's last step reveals everything.

A latent is *known* where it is clean: a code that is not masked, a vector at time 0. Which tokens wait follows from
which latents are known and become known, never from what they or the tokens are. So the order of a run stays
independent of what it writes, and given the order the denoiser's predictions multiply to the probability of latents and
text, as without waiting. Paper, sections 3 and 8.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..utils.registry import Registry, Spec
from .channels import LatentChannel


class TokenWaiting(ABC):
    """Tells the latents whose tokens wait in a step. All tensors are `(B, M)` bool."""

    @abstractmethod
    def holding(self, known: Tensor, written: Tensor) -> Tensor:
        """Returns the latents whose tokens wait: of those `known` at the step's start, and `written` in it, which it
        makes known."""


class NoWaiting(TokenWaiting):
    """No token waits: the process that the model is trained to reverse."""

    def holding(self, known: Tensor, written: Tensor) -> Tensor:
        """Returns none."""
        return torch.zeros_like(written)


class WhileWritten(TokenWaiting):
    """Tokens wait in the step that makes their latent known; before it they are drawn without it."""

    def holding(self, known: Tensor, written: Tensor) -> Tensor:
        """Returns the latents that the step makes known."""
        return written


class UntilKnown(TokenWaiting):
    """Tokens wait until their latent is known, so that each is drawn given it."""

    def holding(self, known: Tensor, written: Tensor) -> Tensor:
        """Returns the latents that are not known when the step starts."""
        return ~known


TOKEN_WAITINGS: Registry[Callable[..., TokenWaiting]] = Registry(
    "`token_waiting`", {"none": NoWaiting, "while_written": WhileWritten, "until_known": UntilKnown}
)
register_token_waiting = TOKEN_WAITINGS.register


@dataclass(frozen=True)
class Waiting:
    """A law of waiting for the tokens of a batch.

    Attributes:
        law: the law.
        latent_of_token: `(B, S)` number of the latent that each token belongs to; `None` if all tokens read all
            latents, and so wait for each of them.
        shared: number of the first latents, which belong to the whole text: all tokens wait for these as well.
    """

    law: TokenWaiting
    latent_of_token: Tensor | None = None
    shared: int = 0

    @classmethod
    def of(cls, spec: Spec, latent_of_token: Tensor | None = None, shared: int = 0) -> Waiting | None:
        """Returns the law of a name, or of a mapping of `name` and options; `None` if no token waits.

        Raises `ValueError` for an unknown name and for invalid options.
        """
        law: TokenWaiting = TOKEN_WAITINGS.build(spec)
        return None if isinstance(law, NoWaiting) else cls(law, latent_of_token, shared)

    def tokens(self, channel: LatentChannel, latents: Tensor, moves: Tensor, t: float, s: float, length: int) -> Tensor:
        """Returns the tokens that wait in a step, `(B, length)` bool; that it is not the last one is the caller's.

        Args:
            channel: of the latents.
            latents: `(B, M)` or `(B, M, D)`, at the step's start.
            moves: `(B, M)` bool, the latents that the step changes.
            t, s: their times before and after it.
            length: number of tokens.
        """
        held = self.law.holding(channel.known(latents, t), channel.written(moves, s))
        if self.latent_of_token is None:
            return held.any(1, keepdim=True).expand(-1, length)
        own = held.gather(1, self.latent_of_token)
        return own | held[:, : self.shared].any(1, keepdim=True) if self.shared else own

    def repeated(self, count: int) -> Waiting:
        """Returns the law for `count` copies of the batch, one after the other."""
        if self.latent_of_token is None:
            return self
        return replace(self, latent_of_token=self.latent_of_token.repeat(count, 1))
