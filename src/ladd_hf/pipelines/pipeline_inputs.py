"""What a run of the pipeline starts from: how many steps and rows, and the tokens that are there already."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..configuration_ladd import LaddConfig

Prompt = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]] | Tensor | np.ndarray

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


def number_of_rows(batch_size: int | None, prompts: list[list[int]] | None, latents: Tensor | None) -> int:
    """The batch size: as given, or as many as there are prompts or latents. Raises `ValueError` where they differ."""
    given = batch_size
    if given is None:
        given = max(len(prompts or [0]), 1 if latents is None else len(latents))
    if given < 1:
        raise ValueError(f"`batch_size` is {given}; give at least 1 sequence.")
    for name, value in (("prompt", prompts), ("latents", latents)):
        if value is not None and len(value) not in ({1, given} if name == "prompt" else {given}):
            raise ValueError(
                f"`{name}` has {len(value)} rows for a batch of {given}: give as many, or another `batch_size`."
            )
    return given


def start_tokens(
    prompts: list[list[int]] | None, rows: int, length: int | None, config: LaddConfig, device: torch.device
) -> Tensor:
    """`(rows, length)` mask tokens behind the prompts. Raises `ValueError` for ids or lengths the model has not."""
    length = config.max_position_embeddings if length is None else length
    if not 1 <= length <= config.max_position_embeddings:
        raise ValueError(f"`length` is {length}; this model writes 1 to {config.max_position_embeddings} tokens.")
    tokens = torch.full((rows, length), cast(int, config.mask_token_id), device=device)
    prompts = prompts or []
    for row, ids in enumerate(prompts * rows if len(prompts) == 1 else prompts):
        if len(ids) > length:
            raise ValueError(f"The prompt of row {row} has {len(ids)} tokens, more than the `length` {length}.")
        if not all(0 <= one < config.vocab_size for one in ids):
            raise ValueError(
                f"The prompt of row {row} has ids outside of the vocabulary: give ids from 0 to "
                f"{config.vocab_size - 1}."
            )
        tokens[row, : len(ids)] = torch.tensor(ids, dtype=tokens.dtype)
    return tokens


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
