"""Inputs of a pipeline run: number of steps and rows, lengths, and the tokens that are given."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..diffusion.rng import RowGenerator
from ..models.configuration_ladd import LaddConfig
from ..models.text_frame import TextFrame
from ..models.text_lengths import draw_lengths
from ..schedulers import LaddScheduler
from ..utils.padding import padded_texts
from .prompt_padding import without_padding
from .text_reading import read_texts

Prompt = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | Tensor | np.ndarray | Mapping[str, Any]
Length = int | Sequence[int] | str | None

DEFAULT_NUM_STEPS = 32


def one_number_of_steps(num_steps: int | None, num_inference_steps: int | None) -> int:
    """Returns the number of evaluations, given by either name. Raises `ValueError` if both are given."""
    if num_steps is not None and num_inference_steps is not None:
        raise ValueError(
            f"Both `num_steps` ({num_steps}) and `num_inference_steps` ({num_inference_steps}) are given, and they "
            "mean the same: give one."
        )
    given = num_steps if num_steps is not None else num_inference_steps
    return DEFAULT_NUM_STEPS if given is None else given


def whole_number(value: Any, name: str) -> int:
    """Converts an integer of any library, at least 1. Raises `ValueError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"`{name}` is {value!r}; give a whole number of at least 1.")
    return int(value)


def prompt_ids(
    prompt: Prompt | None, tokenizer: PreTrainedTokenizerBase | None, config: LaddConfig, whole: bool = False
) -> list[list[int]] | None:
    """Returns the prompts as lists of ids; a single list if one prompt serves all rows.

    Texts get the special tokens of the model's texts (see [`TextFrame`]): those at the beginning, or at both ends if
    `whole`. Ids do not change, except that padding at their ends is removed. Raises `ValueError` for text without a
    tokenizer, for anything but text or ids, and for ids whose padding is ambiguous."""
    if prompt is None:
        return None
    if isinstance(prompt, Integral):
        raise ValueError(
            f"`prompt` is {prompt!r}; give texts, or lists of token ids, and a number of steps by name (`num_steps=`)."
        )
    if isinstance(prompt, Mapping):  # the output of a tokenizer, padded on either side or not at all
        if "input_ids" not in prompt:
            raise ValueError(f"`prompt` has {sorted(map(str, prompt))}; give `input_ids` in it, as tokenizers do.")
        rows = _rows(prompt["input_ids"])
        if "attention_mask" not in prompt:
            return without_padding(rows, config, tokenizer)
        masks = _rows(prompt["attention_mask"])
        return [[one for one, real in zip(*both, strict=True) if real] for both in zip(rows, masks, strict=True)]
    several = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(several, Tensor | np.ndarray) and any(isinstance(one, str) for one in _listed(several)):
        if tokenizer is None:
            raise ValueError("`prompt` is text, but the pipeline has no tokenizer: add one, or give token ids.")
        if not all(isinstance(one, str) for one in several):
            raise ValueError("`prompt` holds both texts and ids: give the one or the other.")
        return read_texts(cast(Sequence[str], several), tokenizer, TextFrame.of(config), whole)
    return without_padding(_rows(several), config, tokenizer)


def _rows(ids: Any) -> list[list[int]]:
    """Converts one list of ids or several, of any library, to a list of lists."""
    rows = _listed(ids)
    if not rows:
        raise ValueError("`prompt` holds neither text nor ids: leave it out, or give some.")
    if isinstance(rows[0], Integral):
        rows = [rows]
    rows = [_listed(row) for row in rows]
    for one in itertools.chain.from_iterable(rows):
        if isinstance(one, bool) or not isinstance(one, Integral):
            raise ValueError(f"A prompt holds {one!r}, which is no token id: give whole numbers, or text.")
    return [[int(one) for one in row] for row in rows]


def _listed(ids: Any) -> list[Any]:
    if isinstance(ids, Tensor | np.ndarray):
        ids = ids.tolist()
    if not isinstance(ids, Sequence):
        raise ValueError(f"A prompt holds {ids!r}; give texts, or lists of token ids.")
    return list(ids)


def number_of_rows(
    batch_size: int | None,
    prompts: list[list[int]] | None,
    latents: Tensor | None,
    length: Length = None,
    per_prompt: int = 1,
) -> int:
    """Returns the number of rows of which each is written `per_prompt` times: the batch size, or the number of prompts,
    latents or lengths. Raises `ValueError` if they differ."""
    given = length.tolist() if isinstance(length, Tensor | np.ndarray) else length
    lengths = len(given) if isinstance(given, Sequence) and not isinstance(given, str) else 1
    rows = max(len(prompts or [0]), 1 if latents is None or not latents.ndim else len(latents), lengths)
    if batch_size is not None and (batch_size := whole_number(batch_size, "batch_size")) != rows * per_prompt:
        if per_prompt > 1:
            raise ValueError(
                f"`batch_size` is {batch_size}, the number of all sequences, but `num_samples_per_prompt` {per_prompt} "
                f"makes {rows * per_prompt}: leave `batch_size` out."
            )
        rows = batch_size
    if prompts is not None and len(prompts) not in (1, rows):
        raise ValueError(
            f"`prompt` has {len(prompts)} rows for a batch of {rows}: give as many, or another `batch_size`."
        )
    if latents is not None and (not latents.ndim or len(latents) != rows):
        raise ValueError(
            f"`latents` have shape {tuple(latents.shape)} for a batch of {rows}: give one line for each row, or "
            "another `batch_size`."
        )
    return rows


def repeated(
    count: int, prompts: list[list[int]] | None, latents: Tensor | None, length: Length
) -> tuple[list[list[int]] | None, Tensor | None, Length]:
    """Returns prompts, latents and lengths with each line `count` times in a row; what serves all rows stays."""
    if count == 1:
        return prompts, latents, length
    if prompts is not None and len(prompts) > 1:
        prompts = [ids for ids in prompts for _ in range(count)]
    latents = None if latents is None else latents.repeat_interleave(count, dim=0)
    given = length.tolist() if isinstance(length, Tensor | np.ndarray) else length
    if isinstance(given, Sequence) and not isinstance(given, str):
        given = [one for one in given for _ in range(count)]
    return prompts, latents, given


def sequence_lengths(
    length: Length, prompts: list[list[int]], rows: int, config: LaddConfig, random: RowGenerator
) -> list[int]:
    """Returns the number of tokens of each row. `length` is one number, one per row, `"prompt"` for the prompt's
    length, or `None` for the model's: its usual length, or draws per row from the lengths of the training texts if
    these differed. Raises `ValueError` for lengths that do not fit the model or the batch."""
    longest = config.max_position_embeddings
    given = length.tolist() if isinstance(length, Tensor | np.ndarray) else length
    if given is None and (known := getattr(config, "text_lengths", None)) is not None:
        given = draw_lengths(known, [len(ids) for ids in prompts] or [1] * rows, random)
    if isinstance(given, str) and given == "prompt" and prompts:
        lengths = [len(ids) for ids in prompts]
    elif given is None or (isinstance(given, Integral) and not isinstance(given, bool)):
        lengths = [TextFrame.of(config).length or longest if given is None else int(given)] * rows
    elif isinstance(given, str) or not isinstance(given, Sequence) or len(given) != rows:
        raise ValueError(
            f"`length` is {length!r} for a batch of {rows}: give one number of tokens, one for each row, or 'prompt' "
            "with a prompt that holds mask tokens to fill in."
        )
    else:
        lengths = [cast(int, one) for one in given]
    if not all(isinstance(one, Integral) and 1 <= one <= longest for one in lengths):
        asked = f"'prompt', of {max(lengths)} tokens" if given == "prompt" else length
        raise ValueError(
            f"`length` is {asked}; this model writes 1 to {longest} tokens (`max_position_embeddings`), all in one "
            "block: give a length within them, or write a longer text as several, each with the end of the one before "
            "as its prompt."
        )
    if len(set(lengths)) > 1 and getattr(config, "pad_token_id", None) is None:
        raise ValueError(
            "The rows differ in length, but the model has no `pad_token_id` to fill the shorter ones with: give one "
            "length for all."
        )
    return lengths


def check_ids(ids: list[int], config: LaddConfig, name: str, masked: bool = True) -> None:
    """Raises `ValueError` for ids outside the vocabulary, and for the mask token unless `masked`."""
    if not all(0 <= one < config.vocab_size for one in ids):
        raise ValueError(f"{name} has ids outside of the vocabulary: give ids from 0 to {config.vocab_size - 1}.")
    if not masked and config.mask_token_id in ids:
        raise ValueError(f"{name} holds the mask token: only whole texts have latents; fill its gaps in first.")


def _prompt(row: int, prompts: list[list[int]]) -> str:
    return "The prompt" if len(prompts) == 1 else f"The prompt of row {row}"


def start_tokens(
    prompts: list[list[int]], lengths: list[int], config: LaddConfig, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """Returns the prompts followed by mask tokens, `(rows, longest)`, and the attention mask, `None` without padding.

    `prompts` holds one list per row, or nothing. Raises `ValueError` for invalid ids and for prompts that are too long.
    """
    for row, (ids, length) in enumerate(zip(prompts, lengths, strict=False)):  # `prompts` may be empty
        if len(ids) > length:
            longest = config.max_position_embeddings
            more = "" if length >= longest else f", or give a `length` of up to {longest}"
            raise ValueError(
                f"{_prompt(row, prompts)} has {len(ids)} tokens, more than the `length` {length}: shorten it{more}."
            )
        check_ids(ids, config, _prompt(row, prompts))
    begun = zip(prompts or [[]] * len(lengths), lengths, strict=True)
    rows = [ids + [cast(int, config.mask_token_id)] * (length - len(ids)) for ids, length in begun]
    tokens, mask = padded_texts(rows, getattr(config, "pad_token_id", None) or 0)
    return tokens.to(device), None if mask is None else mask.to(device)


def start_latents(
    given: Tensor | None,
    strength: float,
    length: int,
    scheduler: LaddScheduler,
    random: RowGenerator,
    device: torch.device,
) -> Tensor | None:
    """Returns the latents of a run's start, `None` without any: noise, or the `given` ones noised to `strength`.

    Raises `ValueError` for latents that are not the model's.
    """
    if given is None:
        return scheduler.prior_latents(length, random, len(random))
    scheduler.check_latents(given, len(random), length)
    latents = given.to(device)
    if not strength:
        return latents
    return scheduler.add_latent_noise(latents, torch.tensor(strength, dtype=torch.float64), random)
