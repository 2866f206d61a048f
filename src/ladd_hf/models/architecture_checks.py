"""Settings of a configuration that do not go together, each told in a sentence."""

from __future__ import annotations

from typing import Any

from ..diffusion.latent_predictions import LATENT_PREDICTIONS, AnchorPrediction
from ..diffusion.noise_schedules import gaussian_schedule, mask_schedule
from .encoders.encoder_options import ENCODERS
from .encoders.pooling import POOLINGS
from .latent_options import LATENT_DENOISERS, LATENT_HEADS
from .quantizers.quantizer_options import QUANTIZERS
from .text_frame import TextFrame
from .text_lengths import check_lengths
from .vocabulary import WRITTEN_ROLES, ids_of

# Settings for only one type of latents, and for latents of any type.
_OF_CONTINUOUS = ("latent_prediction_type", "latent_unpooling_time", "latent_self_conditioning", "latent_flow_map")
_OF_CODES = ("codebook_size", "quantizer")
_OF_LATENTS = (
    *("latent_length", "latent_dim", "latent_noise_schedule", "latent_head", "latent_denoiser"),
    *("global_latents", "latent_normalization", "latent_pooling", "latent_unpooling", "encoder", "reference_layout"),
    *_OF_CONTINUOUS,
    *_OF_CODES,
)


def check_vocabulary(config: Any) -> None:
    """Raises `ValueError` unless the mask, padding and other special tokens fit the vocabulary and each other."""
    if config.mask_token_id is None or not 0 <= config.mask_token_id < config.vocab_size:
        raise ValueError(
            f"`mask_token_id` {config.mask_token_id} lies outside the vocabulary: `vocab_size` counts the mask "
            f"token, so give an id from 0 to {config.vocab_size - 1}, or a larger `vocab_size`."
        )
    if config.pad_token_id == config.mask_token_id:
        raise ValueError(
            f"`pad_token_id` and `mask_token_id` are both {config.mask_token_id}: padding would be denoised as if it "
            "were noise, so give the mask token an id of its own."
        )
    if config.pad_token_id is not None and not 0 <= config.pad_token_id < config.vocab_size:
        raise ValueError(
            f"`pad_token_id` {config.pad_token_id} lies outside the vocabulary: give an id from 0 to "
            f"{config.vocab_size - 1}, or none."
        )
    for role in WRITTEN_ROLES:
        _check_written(config, role)
    if config.tokenizer_size is not None and config.tokenizer_size > config.vocab_size:
        raise ValueError(
            f"`tokenizer_size` {config.tokenizer_size} is more than `vocab_size` {config.vocab_size}: the model has to "
            "have all of the tokenizer's tokens, so give a larger vocabulary, or none."
        )


def _check_written(config: Any, role: str) -> None:
    for one in ids_of(config, role):
        if one == config.mask_token_id:
            raise ValueError(
                f"`{role}` and `mask_token_id` are both {one}: what tokenizers write into texts would stand for "
                "noise, so give the mask token an id of its own, such as a further one of a larger `vocab_size`."
            )
        if not 0 <= one < config.vocab_size:
            raise ValueError(
                f"`{role}` {one} lies outside the vocabulary: give an id from 0 to {config.vocab_size - 1}, or none."
            )


def check_text_facts(config: Any) -> None:
    """Raises `ValueError` unless the frame and the lengths of texts fit the vocabulary and the positions."""
    frame, longest = TextFrame.of(config), config.max_position_embeddings
    if not all(one < config.vocab_size and one != config.mask_token_id for one in frame.ids):
        raise ValueError(
            f"`text_frame` writes the ids {sorted(frame.ids)}; give tokens of the vocabulary of {config.vocab_size}, "
            f"and not the mask token, {config.mask_token_id}."
        )
    if (frame.length or 0) > longest:
        raise ValueError(
            f"`text_frame` has texts of {frame.length} tokens, and `max_position_embeddings` is {longest}: give as "
            "many positions, or shorter blocks."
        )
    if config.text_lengths is not None:
        check_lengths(config.text_lengths, longest)


def _refuse(config: Any, kind: str, names: tuple[str, ...], instead: str) -> None:
    """Raises `ValueError` if settings for another type of latents have been changed."""
    if given := [name for name in names if getattr(config, name) != getattr(type(config), name)]:
        raise ValueError(
            f"`latent_type` is {kind!r}, but {', '.join(given)} is set: leave it out, or choose the latent type "
            f"{instead}."
        )


def refuse_latents(config: Any) -> None:
    """Raises `ValueError` if a model without latents has settings of them."""
    _refuse(config, "none", _OF_LATENTS, "'continuous' or 'discrete'")


def check_latent_settings(config: Any) -> None:
    """Raises `ValueError` unless the settings of the latents are of their type and fit each other."""
    kind = config.latent_type
    if not 0 < config.latent_length <= config.max_position_embeddings or config.latent_dim < 1:
        raise ValueError(
            f"`latent_type` {kind!r} with `latent_length` {config.latent_length} and `latent_dim` "
            f"{config.latent_dim}: give a length from 1 to `max_position_embeddings` "
            f"({config.max_position_embeddings}) and a size of at least 1."
        )
    if config.latent_pooling != "none" and config.separate_latent_denoiser:
        raise ValueError(
            f"`latent_pooling` is {config.latent_pooling!r}, but with `separate_latent_denoiser` latents are "
            "predicted without tokens: leave one of them out."
        )
    _check_unpooling(config)
    encoder = config.encoder_options
    encoder.check(config.latent_length, config.latent_dim, config.max_position_embeddings)
    _check_chunks(config, encoder)
    _check_global_latents(config, encoder)
    LATENT_HEADS.build(config.latent_head)
    LATENT_DENOISERS.build(config.latent_denoiser)
    if kind == "continuous":
        _refuse(config, kind, _OF_CODES, "'discrete'")
        gaussian_schedule(config.latent_noise_schedule or "")
        prediction = LATENT_PREDICTIONS.build(config.latent_prediction_type)
        if config.latent_self_conditioning and not getattr(prediction, "snap", True):
            raise ValueError(
                "`latent_self_conditioning` reads the mean of the anchors, beside which latents lie with `snap` "
                "false: snap them, or leave it out."
            )
        if config.latent_flow_map:
            _check_flow_map(config, prediction)
        return
    _refuse(config, kind, _OF_CONTINUOUS, "'continuous'")
    if encoder.variance != "none":
        raise ValueError(
            f"`latent_type` is 'discrete', but `encoder.variance` is {encoder.variance!r}: leave it out, or choose "
            "the latent type 'continuous'."
        )
    if getattr(encoder, "standardization", False) and ENCODERS.parsed(config.encoder)[0] == "trained":
        raise ValueError(
            "`latent_type` is 'discrete', but `encoder.standardization` is set for a trained encoder, whose codebook "
            "is learnt with it and fits no other vectors: leave it out, or choose the latent type 'continuous'."
        )
    _check_codes(config)


def _check_global_latents(config: Any, encoder: Any) -> None:
    count = config.global_latents
    if count and count >= config.latent_length:
        raise ValueError(
            f"`global_latents` is {count} of `latent_length` {config.latent_length}: leave at least one latent to the "
            "chunks of the text."
        )
    if count and getattr(encoder, "readout", "last") == "last":
        raise ValueError(
            f"`global_latents` is {count}, but the encoder does not read single latents from chunks: give a trained "
            "one with `encoder.readout` 'chunk' or 'chunk_mlp', or leave them out."
        )


def _check_chunks(config: Any, encoder: Any) -> None:
    """Refuses chunks of the denoiser beside others of a pretrained encoder, whose last latent is of the end alone."""
    chunked = [name for name in ("latent_pooling", "latent_unpooling") if getattr(config, name) == "chunk"]
    pooling = POOLINGS[encoder.pooling] if hasattr(encoder, "pooling") else None
    if chunked and pooling is not None and pooling.has_chunks and pooling.whole is not None:
        raise ValueError(
            f"`{chunked[0]}` is 'chunk', by which the text is divided among all latents, but `encoder.pooling` is "
            f"{encoder.pooling!r}, which divides it among all but the last: give 'adaptive_chunk_mean', or leave "
            f"`{chunked[0]}` at 'none'."
        )


def _check_unpooling(config: Any) -> None:
    told = config.latent_unpooling_time
    if told != "none" and config.latent_unpooling == "none":
        raise ValueError(
            f"`latent_unpooling_time` is {told!r}, but no latents are unpooled: set `latent_unpooling` 'chunk', or "
            "leave it out."
        )
    if told == "modulation" and not config.latent_time_conditioning:
        raise ValueError(
            "`latent_unpooling_time` is 'modulation', but the network is not conditioned on t_y: set "
            "`latent_time_conditioning`, or give 'signal'."
        )


def _check_flow_map(config: Any, prediction: Any) -> None:
    if isinstance(prediction, AnchorPrediction):
        raise ValueError(
            "`latent_flow_map` learns where a flow leads, and of 'anchors' one is drawn in each step: give another "
            "`latent_prediction_type`, or leave it out."
        )
    if config.latent_self_conditioning:
        raise ValueError(
            "`latent_flow_map` is for runs of very few steps, whose way depends on the latents alone, and "
            "`latent_self_conditioning` makes it depend on the last step: leave one of them out."
        )
    if not config.latent_time_conditioning and not config.separate_latent_denoiser:
        raise ValueError(
            "`latent_flow_map` tells the network how far a step goes from t_y, on which it is not conditioned: set "
            "`latent_time_conditioning`, or leave it out."
        )


def _check_codes(config: Any) -> None:
    mask_schedule(config.latent_noise_schedule or "")
    num_codes = QUANTIZERS.build(config.quantizer).num_codes
    if num_codes not in (None, config.codebook_size):
        raise ValueError(
            f"`quantizer` is {config.quantizer}, which has {num_codes} codes, but `codebook_size` is "
            f"{config.codebook_size}: change the one or the other, or leave `codebook_size` out."
        )
    if config.codebook_size < 2:
        raise ValueError(
            f"`latent_type` is 'discrete' with `codebook_size` {config.codebook_size}: give at least 2 codes, the "
            "mask code not counted."
        )
