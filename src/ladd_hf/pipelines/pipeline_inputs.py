"""What a run of the pipeline starts from: how many steps and rows, and the tokens that are there already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..configuration_ladd import LaddConfig

Prompt = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | Tensor | np.ndarray | Mapping[str, Any]
Length = int | Sequence[int] | str | None

DEFAULT_NUM_STEPS = 32


def one_number_of_steps(num_steps: int | None, num_inference_steps: int | None) -> int:
    """The number of evaluations, by either of its names. Raises `ValueError` where both are given."""
    if num_steps is not None and num_inference_steps is not None:
        raise ValueError(
            f"Both `num_steps` ({num_steps}) and `num_inference_steps` ({num_inference_steps}) are given, and they "
            "mean the same: give one."
        )
    given = num_steps if num_steps is not None else num_inference_steps
    return DEFAULT_NUM_STEPS if given is None else given


def prompt_ids(prompt: Prompt | None, tokenizer: PreTrainedTokenizerBase | None) -> list[list[int]] | None:
    """The prompts as lists of ids, one list if one prompt serves all rows. Raises `ValueError` for text with no
    tokenizer to read it."""
    if prompt is None:
        return None
    if isinstance(prompt, Mapping):  # what a tokenizer gives, padded on whichever side
        ids, mask = (torch.as_tensor(prompt[name]) for name in ("input_ids", "attention_mask"))
        return [row[real.bool()].tolist() for row, real in zip(ids, mask, strict=True)]
    if isinstance(prompt, Tensor | np.ndarray):
        prompt = prompt.tolist()
    several: list[Any] = [prompt] if isinstance(prompt, str) else list(prompt)
    if several and isinstance(several[0], int):
        several = [several]
    if any(isinstance(one, str) for one in several):
        if tokenizer is None:
            raise ValueError("`prompt` is text, but the pipeline has no tokenizer: add one, or give token ids.")
        several = [tokenizer(one, add_special_tokens=False)["input_ids"] for one in several]
    return [list(one) for one in several]


def number_of_rows(
    batch_size: int | None, prompts: list[list[int]] | None, latents: Tensor | None, length: Length = None
) -> int:
    """The batch size: as given, or as many as there are prompts, latents or lengths. Raises `ValueError` where they
    differ."""
    given = batch_size
    if given is None:
        lengths = 1 if length is None or isinstance(length, int | str) else len(length)
        given = max(len(prompts or [0]), 1 if latents is None else len(latents), lengths)
    if given < 1:
        raise ValueError(f"`batch_size` is {given}; give at least 1 sequence.")
    for name, value in (("prompt", prompts), ("latents", latents)):
        if value is not None and len(value) not in ({1, given} if name == "prompt" else {given}):
            raise ValueError(
                f"`{name}` has {len(value)} rows for a batch of {given}: give as many, or another `batch_size`."
            )
    return given


def sequence_lengths(length: Length, prompts: list[list[int]], rows: int, config: LaddConfig) -> list[int]:
    """How many tokens each row has: one number for all, one each, `"prompt"` for as many as its prompt, or `None` for
    as many as the model writes. Raises `ValueError` for lengths that the model or the batch has not."""
    longest = config.max_position_embeddings
    if length == "prompt" and prompts:
        lengths = [len(ids) for ids in prompts]
    elif length is None or isinstance(length, int):
        lengths = [longest if length is None else length] * rows
    elif isinstance(length, str) or len(length) != rows:
        raise ValueError(
            f"`length` is {length!r} for a batch of {rows}: give one number of tokens, one for each row, or 'prompt' "
            "with a prompt that holds mask tokens to fill in."
        )
    else:
        lengths = [int(one) for one in length]
    if not all(1 <= one <= longest for one in lengths):
        raise ValueError(f"`length` is {length}; this model writes 1 to {longest} tokens.")
    if len(set(lengths)) > 1 and config.pad_token_id is None:
        raise ValueError(
            "The rows differ in length, but the model has no `pad_token_id` to fill the shorter ones with: give one "
            "length for all."
        )
    return lengths


def check_ids(ids: list[int], config: LaddConfig, name: str) -> None:
    """Raises `ValueError` for ids that the model has not."""
    if not all(0 <= one < config.vocab_size for one in ids):
        raise ValueError(f"{name} has ids outside of the vocabulary: give ids from 0 to {config.vocab_size - 1}.")


def start_tokens(
    prompts: list[list[int]], lengths: list[int], config: LaddConfig, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """`(rows, longest)` mask tokens behind the prompts, and the attention mask, `None` where no row is padded.

    `prompts` are one for each row, or none. Raises `ValueError` for ids or lengths the model has not.
    """
    tokens = torch.full((len(lengths), max(lengths)), cast(int, config.mask_token_id))
    for row, ids in enumerate(prompts):
        if len(ids) > lengths[row]:
            raise ValueError(f"The prompt of row {row} has {len(ids)} tokens, more than the `length` {lengths[row]}.")
        check_ids(ids, config, f"The prompt of row {row}")
        tokens[row, : len(ids)] = torch.tensor(ids, dtype=tokens.dtype)
    if len(set(lengths)) == 1:
        return tokens.to(device), None
    real = torch.arange(tokens.shape[1]) < torch.tensor(lengths)[:, None]
    return tokens.masked_fill(~real, cast(int, config.pad_token_id)).to(device), real.long().to(device)


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, config: LaddConfig) -> None:
    """Raises `ValueError` unless the tokenizer's mask token is the model's."""
    if tokenizer.mask_token_id is None:
        raise ValueError(
            "The tokenizer has no mask token, which the model writes over: add one with "
            '`tokenizer.add_special_tokens({"mask_token": "[MASK]"})`, as the model\'s id '
            f"{config.mask_token_id}."
        )
    if tokenizer.mask_token_id != config.mask_token_id:
        raise ValueError(
            f"The tokenizer's mask token has id {tokenizer.mask_token_id}, the model's `mask_token_id` is "
            f"{config.mask_token_id}: use the tokenizer the model was trained with."
        )
