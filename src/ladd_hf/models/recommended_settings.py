"""Settings of latents that were seen to learn within some thousand steps: `LaddConfig.recommended`; docs/ablations.md.

The paper's settings, which are the defaults of `LaddConfig`, are those of runs of a million steps. The ablations of a
run on two CPU cores show which of them a short run needs changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..utils.number_ranges import COUNT, COUNT_OR_ZERO
from ..utils.wrong_objects import described, is_one_of
from .vocabulary import check_mask_is_its_own, tokenizer_size

# The sizes of the ablations, for a run on two CPU cores.
SIZES = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "cond_hidden_size": 32}

_ENCODER = {"name": "trained", "readout": "chunk_mlp", "num_hidden_layers": 1}
_TYPES = ("none", "continuous", "discrete")
_ROLES = ("mask_token_id", "pad_token_id", "bos_token_id", "eos_token_id")
_CHARACTERS = 128  # vocabularies of up to so many tokens are of characters
_TOKENS_OF_CHARACTERS, _TOKENS = 4, 2  # of a latent; a larger vocabulary's tokens tell more each
_MOST_CODES = 4096
_SEEN = 64  # chunks of training text for each code, at least


def vocabulary_of(tokenizer: Any) -> dict[str, Any]:
    """Returns the settings of a tokenizer's ids; those of a mapping with `vocab_size` are returned as they are.

    Raises `ValueError` for anything else, and for a tokenizer without a mask token of its own.
    """
    if isinstance(tokenizer, Mapping):
        if "vocab_size" not in tokenizer:
            raise ValueError(
                f"The vocabulary is a mapping of {sorted(map(str, tokenizer))}, without `vocab_size`: give the number "
                "of tokens, the mask token counted, or a tokenizer."
            )
        COUNT.check("vocab_size", tokenizer["vocab_size"])
        return dict(tokenizer)
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ValueError(
            f"`tokenizer` is {described(tokenizer)}; give one of transformers', or a mapping such as the `vocabulary` "
            "of a task."
        )
    if tokenizer.mask_token_id is None:
        raise ValueError("The tokenizer has no mask token: add one with `ladd_hf.data.with_mask_token`.")
    check_mask_is_its_own(tokenizer)
    ids = {role: getattr(tokenizer, role) for role in _ROLES}
    return {"vocab_size": tokenizer_size(tokenizer)} | {role: one for role, one in ids.items() if one is not None}


def latent_settings(
    latent_type: Any, vocabulary: Mapping[str, Any], length: int, num_tokens: int | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the settings of latents, for texts of `length` tokens and a corpus of `num_tokens` (`None`: a large one).

    The number of codes follows a number of latents that is `given`. Raises `ValueError` for an unknown type, and for
    numbers out of range.
    """
    if not is_one_of(latent_type, _TYPES):
        raise ValueError(f"`latent_type` is {described(latent_type)}; give one of {', '.join(map(repr, _TYPES))}.")
    if num_tokens is not None:
        COUNT.check("num_tokens", num_tokens)
    if latent_type == "none":
        return {"latent_type": latent_type}
    of_text = given.get("global_latents", 0)
    COUNT_OR_ZERO.check("global_latents", of_text)
    number = given.get("latent_length", number_of_latents(length, vocabulary["vocab_size"]) + of_text)
    COUNT.check("latent_length", number)
    count = number_of_codes(max(1, length // max(1, number - of_text)), tokens_of_texts(vocabulary), num_tokens)
    settings = {
        "latent_type": latent_type,
        "latent_length": number,
        # a network of the latents' own has no states of tokens to predict them from
        "latent_pooling": "none" if _name_of(given.get("latent_denoiser")) == "separate" else "chunk",
        "latent_unpooling": "chunk",
        "encoder": _encoder_over(_ENCODER, given.get("encoder")),
    }
    if latent_type == "continuous":
        anchors = {"name": "anchors", "count": count}
        return settings | {"latent_dim": 8, "latent_normalization": "l2", "latent_prediction_type": anchors}
    codes = {} if "quantizer" in given else {"quantizer": "vector", "codebook_size": count}
    return settings | {"latent_dim": 16, "latent_noise_schedule": "linear"} | codes


def _encoder_over(recommended: dict[str, Any], given: Any) -> Any:
    """Returns the given encoder, with the recommended options that it does not set if it is of the recommended kind."""
    if given is None:
        return recommended
    options = {"name": given} if isinstance(given, str) else given
    if not isinstance(options, Mapping) or options.get("name", recommended["name"]) != recommended["name"]:
        return given
    return {**recommended, **options}


def _name_of(choice: Any) -> Any:
    return choice.get("name") if isinstance(choice, Mapping) else choice


def number_of_latents(length: int, vocab_size: int) -> int:
    """Returns M: a latent for every 4 characters, or 2 tokens of a larger vocabulary, or for up to twice as many where
    that divides the length evenly; at least one."""
    least = _TOKENS_OF_CHARACTERS if vocab_size <= _CHARACTERS else _TOKENS
    for size in range(least, 2 * least + 1):
        if length % size == 0:
            return length // size
    return max(1, length // least)


def tokens_of_texts(vocabulary: Mapping[str, Any]) -> int:
    """Returns the number of tokens that occur in texts: without the mask token, and the padding token if it differs
    from those that begin and end them."""
    pad = vocabulary.get("pad_token_id")
    written = pad is None or pad in (vocabulary.get("bos_token_id"), vocabulary.get("eos_token_id"))
    return max(2, vocabulary["vocab_size"] - 1 - (not written))


def number_of_codes(tokens: int, num_kinds: int, num_tokens: int | None) -> int:
    """Returns the number of codes, or anchors, of latents of `tokens` tokens each: a power of two up to 4096.

    No more than there are different chunks of `num_kinds` kinds of tokens, and few enough that each is seen some 64
    times in a corpus of `num_tokens`.
    """
    most = _MOST_CODES if num_tokens is None else min(_MOST_CODES, num_tokens // tokens // _SEEN)
    exponent = min(math.log2(max(2, most)), tokens * math.log2(num_kinds))
    return int(2 ** math.floor(exponent + 1e-9))
