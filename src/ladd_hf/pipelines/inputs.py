"""What a run of the pipeline starts from: how many steps and rows, and the tokens that are there already."""

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
from ..utils.padding import padded_texts
from .prompt_padding import without_padding
from .text_reading import read_texts

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


def whole_number(value: Any, name: str) -> int:
    """A number of at least 1, whichever library's. Raises `ValueError` for anything else."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"`{name}` is {value!r}; give a whole number of at least 1.")
    return int(value)


def prompt_ids(
    prompt: Prompt | None, tokenizer: PreTrainedTokenizerBase | None, config: LaddConfig, whole: bool = False
) -> list[list[int]] | None:
    """The prompts as lists of ids, one list if one prompt serves all rows.

    Texts are framed as the model's are (see [`TextFrame`]), as the beginnings of some or as `whole` ones; ids stay as
    they are, but for padding at their ends. Raises `ValueError` for text with no tokenizer to read it, for what is
    neither text nor ids, and for ids of which there is no telling where they are padding."""
    if prompt is None:
        return None
    if isinstance(prompt, Mapping):  # what a tokenizer gives, padded on whichever side or not at all
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
    """One list of ids or several, of whichever library, as lists of lists."""
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
    batch_size: int | None, prompts: list[list[int]] | None, latents: Tensor | None, length: Length = None
) -> int:
    """The batch size: as given, or as many as there are prompts, latents or lengths. Raises `ValueError` where they
    differ."""
    if batch_size is not None:
        rows = whole_number(batch_size, "batch_size")
    else:
        given = length.tolist() if isinstance(length, Tensor | np.ndarray) else length
        lengths = len(given) if isinstance(given, Sequence) and not isinstance(given, str) else 1
        rows = max(len(prompts or [0]), 1 if latents is None or not latents.ndim else len(latents), lengths)
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


def sequence_lengths(
    length: Length, prompts: list[list[int]], rows: int, config: LaddConfig, random: RowGenerator
) -> list[int]:
    """How many tokens each row has: one number for all, one each, `"prompt"` for as many as its prompt, or `None` for
    as many as the model writes, drawn by each row's randomness from the lengths of the training texts where these
    differed. Raises `ValueError` for lengths that the model or the batch has not."""
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
        raise ValueError(f"`length` is {length}; this model writes 1 to {longest} tokens.")
    if len(set(lengths)) > 1 and getattr(config, "pad_token_id", None) is None:
        raise ValueError(
            "The rows differ in length, but the model has no `pad_token_id` to fill the shorter ones with: give one "
            "length for all."
        )
    return lengths


def check_ids(ids: list[int], config: LaddConfig, name: str, masked: bool = True) -> None:
    """Raises `ValueError` for ids that the model has not, and for the mask token's where nothing may be masked."""
    if not all(0 <= one < config.vocab_size for one in ids):
        raise ValueError(f"{name} has ids outside of the vocabulary: give ids from 0 to {config.vocab_size - 1}.")
    if not masked and config.mask_token_id in ids:
        raise ValueError(f"{name} holds the mask token: only whole texts have latents; fill its gaps in first.")


def start_tokens(
    prompts: list[list[int]], lengths: list[int], config: LaddConfig, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """`(rows, longest)` mask tokens behind the prompts, and the attention mask, `None` where no row is padded.

    `prompts` are one for each row, or none. Raises `ValueError` for ids or lengths the model has not.
    """
    for row, (ids, length) in enumerate(zip(prompts, lengths, strict=False)):  # there may be no prompts
        if len(ids) > length:
            raise ValueError(f"The prompt of row {row} has {len(ids)} tokens, more than the `length` {length}.")
        check_ids(ids, config, f"The prompt of row {row}")
    begun = zip(prompts or [[]] * len(lengths), lengths, strict=True)
    rows = [ids + [cast(int, config.mask_token_id)] * (length - len(ids)) for ids, length in begun]
    tokens, mask = padded_texts(rows, getattr(config, "pad_token_id", None) or 0)
    return tokens.to(device), None if mask is None else mask.to(device)
