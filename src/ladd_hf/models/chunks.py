"""Assignment of a text's tokens to its M latents, in even chunks of their ranks. Paper, section 4.

The chunks are used by the encoder's readout, by the connections between tokens and latents in the denoiser, and by the
pooling of a pretrained encoder's states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..utils.number_ranges import COUNT_OR_ZERO
from ..utils.registry import Spec
from ..utils.wrong_objects import described

Ranges = tuple[Tensor, Tensor]  # first rank and end of each range, (B, M) each


def row_spans(attention_mask: Tensor | None, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the start and the number of each row's real tokens, `(B,)` each. Padding may be on either side.

    Raises `ValueError` for padding within a text (checked only on a CPU, since it would stall another device).
    """
    if attention_mask is None:
        starts = torch.zeros(tokens.shape[0], dtype=torch.int64, device=tokens.device)
        return starts, starts + tokens.shape[1]
    real = attention_mask.bool()
    looked_at = real.device.type == "cpu" and not torch.compiler.is_compiling()
    if looked_at and ((real[:, 1:] & ~real[:, :-1]).sum(1) + real[:, 0] > 1).any():
        raise ValueError(
            "`attention_mask` has padding within a text; latents stand for places of a text, which must be in one "
            "piece: pad it at its end or before its start."
        )
    return real.int().argmax(1), real.sum(1)


def even_chunks(lengths: Tensor, count: int) -> Ranges:
    """Returns `count` chunks whose sizes differ by at most 1: rank r is in chunk floor(r `count` / L)."""
    bounds = torch.arange(count + 1, device=lengths.device) * lengths[:, None]
    bounds = (bounds + count - 1) // max(count, 1)  # the first r with r count >= j L
    return bounds[:, :-1], bounds[:, 1:]


def chunk_middles(lengths: Tensor, count: int) -> Tensor:
    """Returns the fractional middle rank of each of `count` chunks: `(B,)` lengths to `(B, count)` float32."""
    numbers = torch.arange(count, device=lengths.device, dtype=torch.float32)
    return (numbers + 0.5) * lengths[:, None] / count - 0.5


def range_mask(first: Tensor, end: Tensor, starts: Tensor, size: int) -> Tensor:
    """Marks the positions of each range among a row's `size`, `(B, M, size)` bool; texts begin at `starts` `(B,)`."""
    ranks = torch.arange(size, device=starts.device) - starts[:, None]  # (B, size)
    return (ranks[:, None] >= first[..., None]) & (ranks[:, None] < end[..., None])


def least_length(config: Any) -> int:
    """Returns the number of tokens that a text of a model has at least: one for each latent of a chunk."""
    least: int = config.latent_length - getattr(config, "global_latents", 0)
    return least


def check_shortest(shortest: int, latent_length: int, global_latents: int = 0) -> None:
    """Raises `ValueError` for texts with fewer tokens than latents, without those of the whole text."""
    if shortest < latent_length:
        name = "`latent_length` without `global_latents`" if global_latents else "`latent_length`"
        raise ValueError(
            f"A text has {shortest} tokens, fewer than {name} ({latent_length}), and each latent reads at "
            "least one: give longer texts, such as packed ones, or a model with fewer latents."
        )


def latents_of_tokens(
    unpooling: str, count: int, tokens: Tensor, attention_mask: Tensor | None, global_latents: int = 0
) -> Tensor | None:
    """Returns the number of the latent that each token is connected to, `(B, S)`; `None` if to none more than others.

    Args:
        unpooling: name of the `latent_unpooling` of the model's configuration.
        count: M, number of latents.
        tokens: `(B, S)`.
        attention_mask: `(B, S)`, or `None` without padding, which belongs to the nearest chunk.
        global_latents: number of the first latents, which belong to the whole text.
    """
    if unpooling != "chunk":
        return None
    chunks = Chunks(count - global_latents, tokens.shape[1])
    chunk, _ = chunks.places(*row_spans(attention_mask, tokens), tokens.shape[1])
    return global_latents + chunk.expand(len(tokens), -1)


def unpooling_spec(config: Any) -> Spec:
    """Returns how a model's tokens are connected to its latents, as schedulers are told: `none`, `chunk`, or with
    latents of the whole text `chunk` and their number."""
    unpooling: str = getattr(config, "latent_unpooling", "none")
    count = getattr(config, "global_latents", 0)
    return {"name": unpooling, "global_latents": count} if count and unpooling == "chunk" else unpooling


def parsed_unpooling(spec: Any) -> tuple[str, int]:
    """Returns the name in such a setting, and the number of latents of the whole text. Raises `ValueError` for anything
    else."""
    options: dict[str, Any] = (
        {"name": spec} if isinstance(spec, str) else dict(spec) if isinstance(spec, Mapping) else {}
    )
    name, count = options.pop("name", None), options.pop("global_latents", 0)
    if name not in ("none", "chunk") or count not in COUNT_OR_ZERO or options or (count and name == "none"):
        raise ValueError(
            f"`latent_unpooling` is {dict(spec) if isinstance(spec, Mapping) else described(spec)}; give 'none' or "
            "'chunk', as the model's configuration does, or a mapping of 'chunk' as `name` and its `global_latents`."
        )
    return name, count


@dataclass(frozen=True)
class Chunks:
    """Division of texts of up to `longest` tokens among `count` latents, in chunks padded to the largest size."""

    count: int
    longest: int

    @property
    def size(self) -> int:
        """Number of tokens of the largest chunk."""
        return -(-self.longest // self.count)

    def check(self, length: int) -> None:
        """Raises `ValueError` for texts that are padded to more tokens than the chunks cover."""
        if length > self.longest:
            raise ValueError(
                f"A text has {length} tokens, but the latents' chunks cover no more than `max_position_embeddings` "
                f"({self.longest}): give shorter texts, or a model for longer ones."
            )

    def read(self, states: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
        """Concatenates the states of each chunk: `(B, S, H)` to `(B, M, size * H)`; missing ones are zeros."""
        first, end = even_chunks(lengths, self.count)  # (B, M)
        ranks = first[..., None] + torch.arange(self.size, device=states.device)  # (B, M, size)
        inside = ranks < end[..., None]
        places = (starts[:, None, None] + ranks).clamp(max=states.shape[1] - 1).flatten(1)  # (B, M * size)
        read = states.gather(1, places[..., None].expand(-1, -1, states.shape[-1]))
        read = read * inside.flatten(1)[..., None]
        return read.view(states.shape[0], self.count, -1)

    def places(self, starts: Tensor, lengths: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Returns each token's chunk and position in it, `(B, length)` each. Padding belongs to the nearest chunk."""
        ranks = torch.arange(length, device=starts.device) - starts[:, None]  # (B, S)
        chunk = (ranks * self.count // lengths[:, None].clamp(min=1)).clamp(0, self.count - 1)
        first, _ = even_chunks(lengths, self.count)  # (B, M)
        return chunk, ranks - first.gather(1, chunk)
