"""The encoder of LADD from clean tokens to clean latents. Used in training and to encode texts, not to generate.
Paper, section 4."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedConfig
from transformers.masking_utils import create_bidirectional_mask

from ...diffusion.channels import EncodedLatents
from ...diffusion.rng import RowGenerator
from ..chunks import Chunks, check_shortest, least_length, row_spans
from ..configuration_ladd import LaddConfig
from ..readouts import GlobalReadout, LatentReadout
from ..transformer import LaddBlock, rotary_embedding
from .encoder_options import EncoderOptions, TrainedOptions
from .feature_noise import with_noise
from .pooling import POOLINGS
from .statistics import LatentStatistics


def check_lengths(config: LaddConfig, tokens: Tensor, attention_mask: Tensor | None = None, wait: bool = False) -> None:
    """Raises `ValueError` for texts whose tokens cannot be divided among the latents, such as too short ones.

    Padded texts on an accelerator are checked only if it may `wait` for that, and never while a graph is compiled:
    training checks them when they become batches.
    """
    if attention_mask is None:
        shortest = longest = tokens.shape[1]
    elif torch.compiler.is_compiling() or not (wait or attention_mask.device.type == "cpu") or not len(tokens):
        return
    else:
        lengths = attention_mask.bool().sum(1)
        shortest, longest = int(lengths.min()), int(lengths.max())
    check_shortest(shortest, least_length(config), config.global_latents)
    pooling = config.encoder_pooling
    if pooling is not None:
        POOLINGS[pooling].check_longest(pooling, longest, config.latent_length)


def check_finite(latents: Tensor) -> None:
    """Raises `ValueError` for non-finite latents `(B, M, D)`, which have no code. Synchronises with their
    device."""
    wrong = ~latents.isfinite().flatten(1).all(1)
    if bool(wrong.any()):
        raise ValueError(
            f"The encoder gives nan or infinity for text {int(wrong.nonzero()[0, 0])} of the batch: look for the first "
            "non-finite weight of the model, or run it in a wider dtype."
        )


def read_last(states: Tensor, starts: Tensor, lengths: Tensor, latent_length: int) -> Tensor:
    """Returns the states at the last M real tokens of each row, which has at least M: `(B, S, H)` to `(B, M, H)`."""
    offsets = torch.arange(latent_length, device=states.device) - latent_length
    places = starts[:, None] + (lengths[:, None] + offsets).clamp(min=0)  # (B, M), clamped to the row
    return states.gather(1, places[..., None].expand(-1, -1, states.shape[-1]))


def normalized(vectors: Tensor, config: LaddConfig) -> Tensor:
    """Scales vectors `(B, M, D)` to the length set by `latent_normalization`."""
    if config.latent_normalization == "none":
        return vectors
    length = 1 if config.latent_normalization == "unit" else vectors.shape[-1] ** 0.5
    return F.normalize(vectors, dim=-1) * length


def fixed_log_variance(like: Tensor, options: EncoderOptions) -> Tensor:
    """Returns the logarithm of the variance `std`^2, a scalar."""
    return like.new_full((), 2 * math.log(options.std))


def drawn_latents(means: Tensor, log_variance: Tensor | None, random: RowGenerator | None) -> EncodedLatents:
    """Draws latents around `(B, M, D)` means; returns the means without a variance or without `random`."""
    kl, vectors = 0.5 * means.square().sum((1, 2)), means
    if log_variance is not None:
        kl = kl + 0.5 * (log_variance.exp() - 1 - log_variance).expand_as(means).sum((1, 2))
        if random is not None:
            vectors = means + (0.5 * log_variance).exp() * random.normal(*means.shape[1:]).to(means)
    return EncodedLatents(vectors, kl)


class LaddEncoder(nn.Module):
    """A bidirectional transformer over the clean tokens, read out into M vectors of size D, those of the whole text
    (`global_latents`) before those of chunks.

    With `standardization` they are standardised once there are statistics.
    """

    def __init__(self, config: LaddConfig) -> None:
        super().__init__()
        self.config, self.options = config, cast(TrainedOptions, config.encoder_options)
        hidden, heads = self.options.hidden_size, self.options.num_attention_heads
        self.chunks = Chunks(least_length(config), config.max_position_embeddings)
        self.embed_tokens = nn.Embedding(config.vocab_size, hidden)
        cond = 0 if config.reference_layout else None
        self.blocks = nn.ModuleList(
            [LaddBlock(config, ("token",), hidden, heads, cond) for _ in range(self.options.num_hidden_layers)]
        )
        self.norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps, bias=False)
        width = hidden * self.chunks.size if self.options.readout != "last" else hidden
        count, eps = config.global_latents, config.layer_norm_eps
        self.global_readout = GlobalReadout(count, hidden, heads, width, eps) if count else None
        self.mix = LatentReadout(width, 4 * hidden) if self.options.readout == "chunk_mlp" else None
        width = width if self.mix is None else 4 * hidden
        self.readout = LatentReadout(width, config.latent_dim)
        self.log_variance = nn.Linear(width, config.latent_dim) if self.options.variance == "learned" else None
        self.statistics: LatentStatistics | None = None
        if self.options.standardization:
            self.statistics = LatentStatistics(config.latent_dim)
            self._keep_in_fp32_modules_strict = ["encoder.statistics"]  # the model reads it under this name

    def forward(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        random: RowGenerator | None = None,
        feature_noise: float = 0.0,
        standardised: bool = True,
    ) -> EncodedLatents:
        """Encodes `(B, S)` tokens, some of them possibly masked; each text has at least M (see `check_lengths`).

        `random` supplies the noise of an encoder with a variance; without it, the latents are its mean. It supplies
        that on the embeddings, too, see [`with_noise`]. `standardised=False` returns them as statistics are
        gathered from.
        """
        embedded = with_noise(self.embed_tokens(tokens), feature_noise, random)
        states = self._read(self._hidden_states(embedded, attention_mask), *row_spans(attention_mask, tokens))
        if self.mix is not None:  # nonlinear, so that a chunk can be more than the sum of its tokens
            states = F.silu(self.mix(states))
        vectors = normalized(self.readout(states), self.config)
        encoded = drawn_latents(vectors, self._log_variance(states), random)
        if not standardised or self.statistics is None or not self.statistics.gathered:
            return encoded
        return replace(encoded, vectors=self.statistics(encoded.vectors).to(encoded.vectors))

    def _hidden_states(self, states: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Returns the last states from the embeddings, `(B, S, H)` each."""
        config = self.config
        mask = create_bidirectional_mask(config=config, inputs_embeds=states, attention_mask=attention_mask)
        positions = torch.arange(states.shape[1], device=states.device)[None]
        head_dim = self.options.hidden_size // self.options.num_attention_heads
        rotary = rotary_embedding(positions, head_dim, rope_theta(config), states.dtype)
        for block in self.blocks:
            states, _ = block(states, None, None, rotary, mask)
        return self.norm(states)

    def _read(self, states: Tensor, starts: Tensor, lengths: Tensor) -> Tensor:
        if self.options.readout != "last":
            self.chunks.check(states.shape[1])
            of_chunks = self.chunks.read(states, starts, lengths)
            if self.global_readout is None:
                return of_chunks
            return torch.cat([self.global_readout(states, starts, lengths), of_chunks], dim=1)
        return read_last(states, starts, lengths, self.config.latent_length)

    def _log_variance(self, states: Tensor) -> Tensor | None:
        if self.options.variance == "fixed":
            return fixed_log_variance(states, self.options)
        return self.log_variance(states) if self.log_variance is not None else None


def rope_theta(config: PreTrainedConfig) -> float:
    """Returns the base of the rotary frequencies."""
    return config.rope_parameters["rope_theta"]
