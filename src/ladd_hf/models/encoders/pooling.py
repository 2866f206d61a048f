"""Pooling of a text's L tokens to M latents, each the mean of some tokens' states. Paper, section 4.

Every pooling cuts the ranks 0 to L - 1 of a text's tokens into M ranges, so that one masked mean serves them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...utils.registry import Registry
from ..chunks import Ranges, even_chunks


def whole_text(lengths: Tensor) -> Ranges:
    """Returns one range of all tokens."""
    return torch.zeros_like(lengths)[:, None], lengths[:, None]


def last_token(lengths: Tensor) -> Ranges:
    """Returns one range of the last token."""
    return lengths[:, None] - 1, lengths[:, None]


@dataclass(frozen=True)
class Pooling:
    """Ranges of two kinds: chunks that divide a text among them, then optionally one of the `whole` text.

    Attributes:
        has_chunks: true if there are chunks.
        whole: the last range, `None` if all are chunks; with it the chunks divide the tokens before the last.
        chunks_are_tokens: true if each chunk is one token, so that texts have exactly M of them.
    """

    has_chunks: bool
    whole: Callable[[Tensor], Ranges] | None = None
    chunks_are_tokens: bool = False

    def num_chunks(self, latent_length: int) -> int:
        """Returns the number of chunks among the M ranges."""
        return latent_length - (self.whole is not None) if self.has_chunks else 0

    def ranges(self, lengths: Tensor, latent_length: int) -> Ranges:
        """Returns first rank and end of each latent's tokens, `(B, M)`, for texts of `(B,)` tokens."""
        parts = []
        if self.has_chunks:
            rest = lengths if self.whole is None else lengths - 1
            parts.append(even_chunks(rest, self.num_chunks(latent_length)))
        if self.whole is not None:
            parts.append(self.whole(lengths))
        first, end = zip(*parts, strict=True)
        return torch.cat(first, dim=1), torch.cat(end, dim=1)

    def check(self, name: str, latent_length: int, max_length: int) -> None:
        """Raises `ValueError` for a number of latents that the pooling does not support."""
        least, most = (2 if self.whole else 1, max_length) if self.has_chunks else (1, 1)
        least = max_length if self.chunks_are_tokens else least
        if not least <= latent_length <= most:
            takes = f"exactly {least}" if least == most else f"{least} to {most}"
            raise ValueError(
                f"`encoder.pooling` {name!r} gives {takes} latents of texts of up to {max_length} tokens, but "
                f"`latent_length` is {latent_length}: change the one or the other."
            )

    def check_longest(self, name: str, longest: int, latent_length: int) -> None:
        """Raises `ValueError` for texts of up to `longest` tokens that cannot be divided among M latents."""
        if self.chunks_are_tokens and longest > latent_length:
            raise ValueError(
                f"A text has {longest} tokens, but `encoder.pooling` {name!r} reads exactly {latent_length}: give "
                "texts of that length."
            )


POOLINGS: Registry[Pooling] = Registry(
    "pooling",
    {
        "last_layer": Pooling(has_chunks=True, chunks_are_tokens=True),
        "last_token": Pooling(has_chunks=False, whole=last_token),
        "mean": Pooling(has_chunks=False, whole=whole_text),
        "adaptive_chunk_mean": Pooling(has_chunks=True),
        "adaptive_chunk_mean_eos": Pooling(has_chunks=True, whole=last_token),
    },
)
register_pooling = POOLINGS.register  # registers a name for use as a pretrained encoder's `pooling`


def mean_states(states: Tensor, chosen: Tensor) -> Tensor:
    """Averages the states of each latent: `(B, T, H)` and `(B, M, T)` to `(B, M, H)` float32."""
    used = chosen.any(1)  # states outside may have any value, even nan
    states = states.float().masked_fill(~used[..., None], 0)
    with torch.autocast(states.device.type, enabled=False):
        sums = torch.bmm(chosen.float(), states)
    return sums / chosen.sum(-1, keepdim=True).clamp(min=1)
