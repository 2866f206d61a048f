"""Checks of a model's arguments before it runs: shapes on any device, values only if that needs no synchronisation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..utils.wrong_objects import described
from .configuration_ladd import LaddConfig
from .vocabulary import Vocabulary

_KINDS = {
    "ids": "a tensor of token ids (int64)",
    "floats": "a tensor of floating-point numbers",
    "bools": "a tensor of booleans",
    "mask": "a tensor of ones and zeros, or of booleans",
}


def readable(tensor: Tensor) -> bool:
    """True if a tensor's values can be read at no cost: on a CPU, and while no graph is compiled."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def check_kind(name: str, given: Any, accepted: str) -> None:
    """Raises `ValueError` unless `given` is a tensor of the `accepted` kind: `"ids"` (int64 or another integer type),
    `"floats"`, `"bools"`, or a `"mask"` of any type."""
    kinds = {
        "ids": lambda dtype: not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool),
        "floats": lambda dtype: dtype.is_floating_point,
        "bools": lambda dtype: dtype == torch.bool,
        "mask": lambda dtype: not dtype.is_complex,
    }
    if isinstance(given, Tensor) and kinds[accepted](given.dtype):
        return
    what = f"a tensor of {str(given.dtype).removeprefix('torch.')}" if isinstance(given, Tensor) else described(given)
    raise ValueError(f"`{name}` is {what}; give {_KINDS[accepted]}.")


def check_tokens(
    config: LaddConfig, input_ids: Tensor | None, inputs_embeds: Tensor | None, attention_mask: Tensor | None
) -> None:
    """Raises `ValueError` unless there are `(B, S)` ids of the vocabulary, or `(B, S, hidden_size)` embeddings, and the
    attention mask, if any, is `(B, S)`. Ids on an accelerator are not checked."""
    given = input_ids if inputs_embeds is None else inputs_embeds
    assert given is not None
    name, rank = ("`input_ids`", 2) if inputs_embeds is None else ("`inputs_embeds`", 3)
    check_kind(name.strip("`"), given, "ids" if rank == 2 else "floats")
    if attention_mask is not None:
        check_kind("attention_mask", attention_mask, "mask")
    if given.ndim != rank or 0 in given.shape:
        raise ValueError(
            f"{name} have shape {tuple(given.shape)}; give (batch, length{', hidden_size' * (rank - 2)}), with at "
            "least one token in at least one text."
        )
    if attention_mask is not None and attention_mask.shape != given.shape[:2]:
        raise ValueError(
            f"`attention_mask` has shape {tuple(attention_mask.shape)} for {name} of shape {tuple(given.shape)}: give "
            "(batch, length), a 1 for each token and a 0 for padding."
        )
    if input_ids is not None and readable(input_ids):
        Vocabulary.of(config).check_ids(input_ids, "`input_ids`")


def check_latents(config: LaddConfig, latents: Tensor, batch_size: int | None) -> None:
    """Raises `ValueError` unless `latents` fit the model: `(B, M, D)` floats, or `(B, M)` codes, 0 to the mask code.

    Codes on an accelerator are not checked. `batch_size` is that of the tokens, `None` without them.
    """
    if config.latent_type == "none":
        raise ValueError("This model has no latents (`latent_type` 'none'): call it without `latents`.")
    rank = 3 if config.latent_type == "continuous" else 2
    if not isinstance(latents, Tensor):
        check_kind("latents", latents, "floats" if rank == 3 else "ids")
    shape = (config.latent_length, config.latent_dim)[: rank - 1]
    of_kind = latents.is_floating_point() == (rank == 3) and latents.dtype != torch.bool
    if latents.shape[1:] != shape or not of_kind:
        expected = (
            f"floats of shape (batch, {config.latent_length}, {config.latent_dim})"
            if rank == 3
            else f"codes (int64) of shape (batch, {config.latent_length})"
        )
        raise ValueError(
            f"`latents` have shape {tuple(latents.shape)} and dtype {latents.dtype}; this model takes {expected}."
        )
    if not len(latents) or batch_size not in (None, len(latents)):
        of_tokens = "the texts" if batch_size is None else f"{batch_size} texts"
        raise ValueError(
            f"There are latents of {len(latents)} texts and tokens of {of_tokens}: give as many, 1 or more."
        )
    if rank == 2 and readable(latents) and not 0 <= int(latents.min()) <= int(latents.max()) <= config.codebook_size:
        raise ValueError(
            f"`latents` hold codes from {int(latents.min())} to {int(latents.max())}; this model takes codes from 0 to "
            f"{config.codebook_size - 1}, and {config.codebook_size} where a code is masked."
        )


def check_times(batch_size: int, **given: Tensor | None) -> None:
    """Raises `ValueError` unless the given times, by name, are one for all or `(B,)`, from 0 to 1. Times on an
    accelerator are not checked."""
    for name, times in given.items():
        if times is None:
            continue
        check_kind(name, times, "floats")
        if times.shape not in ((), (1,), (batch_size,)):
            raise ValueError(
                f"`{name}` has shape {tuple(times.shape)} for a batch of {batch_size}; give ({batch_size},), or one "
                "time for all."
            )
        if readable(times) and bool((outside := ~((times >= 0) & (times <= 1))).any()):
            raise ValueError(
                f"`{name}` holds {float(times[outside].flatten()[0])}; give times from 0 (clean) to 1 (noise)."
            )


def check_estimate(config: LaddConfig, estimate: Tensor, latents: Tensor | None) -> None:
    """Raises `ValueError` for an estimate of y_0 that does not fit the latents, or a model that does not read it."""
    if not config.latent_self_conditioning:
        raise ValueError(
            "`latent_estimate` is given, which this model does not read: leave it out, or train a model with "
            "`latent_self_conditioning`."
        )
    if latents is None or estimate.shape != latents.shape:
        shape = None if latents is None else tuple(latents.shape)
        raise ValueError(
            f"`latent_estimate` has shape {tuple(estimate.shape)} and `latents` {shape}: give the y_0 predicted for "
            "these latents, `scheduler.latent_estimate(...)`, or none."
        )


def check_targets(config: LaddConfig, targets: Tensor, times: Tensor | None, latents: Tensor | None) -> None:
    """Raises `ValueError` for times that steps lead to, if the model does not read them, or if they come after the
    latents' own. Times on an accelerator are not compared."""
    if not config.latent_flow_map:
        raise ValueError(
            "`latent_target_timesteps` is given, which this model does not read: leave it out, or load the model with "
            "`latent_flow_map=True` and distil it."
        )
    if latents is None or times is None:
        raise ValueError(
            "`latent_target_timesteps` is given without `latents` at `latent_timesteps`, where a step begins: give "
            "both, or leave it out."
        )
    check_times(len(latents), latent_target_timesteps=targets, latent_timesteps=times)
    if readable(targets) and bool((targets > times).any()):
        raise ValueError(
            f"`latent_target_timesteps` holds {float(targets.max()):g} for latents at {float(times.min()):g}: a step "
            "leads to less noise, so give times up to `latent_timesteps`."
        )


def check_lengths_of_latents(attention_mask: Any, batch_size: int) -> None:
    """Raises `ValueError` unless an attention mask, if any, says of each text of latents how long it is."""
    if attention_mask is None:
        return
    check_kind("attention_mask", attention_mask, "mask")
    if attention_mask.ndim != 2 or len(attention_mask) != batch_size:
        raise ValueError(
            f"`attention_mask` has shape {tuple(attention_mask.shape)} for latents of {batch_size} texts: give (batch, "
            "length), a 1 for each token and a 0 for padding, or none for texts as long as can be."
        )


def check_logits_mask(logits_mask: Any, shape: torch.Size) -> None:
    """Raises `ValueError` unless there is a bool for each of `(B, S)` tokens."""
    check_kind("logits_mask", logits_mask, "bools")
    if logits_mask.shape != shape:
        raise ValueError(
            f"`logits_mask` has shape {tuple(logits_mask.shape)} for tokens of shape {tuple(shape)}: give a boolean "
            "for each token, true where logits are wanted."
        )


def check_labels(labels: Tensor, input_ids: Tensor | None) -> None:
    """Raises `ValueError` unless `labels` are `(B, S)` ids, of the same length as the given tokens."""
    check_kind("labels", labels, "ids")
    if input_ids is not None:
        check_kind("input_ids", input_ids, "ids")
    if labels.ndim != 2 or 0 in labels.shape or (input_ids is not None and labels.shape != input_ids.shape):
        beside = "" if input_ids is None else f" for `input_ids` of shape {tuple(input_ids.shape)}"
        raise ValueError(
            f"`labels` have shape {tuple(labels.shape)}{beside}: give (batch, length), the clean tokens, and -100 "
            "where a token is not scored."
        )


def check_longest(config: LaddConfig, tokens: Tensor, attention_mask: Tensor | None) -> None:
    """Raises `ValueError` for a text of `(B, S)` tokens that is too long for the model.

    Synchronises with the mask's device.
    """
    longest = tokens.shape[1]
    if attention_mask is not None and longest > config.max_position_embeddings:
        longest = int(attention_mask.bool().sum(1).amax())
    check_length(longest, config.max_position_embeddings)


def check_whole_texts(config: LaddConfig, tokens: Tensor, attention_mask: Tensor | None) -> None:
    """Raises `ValueError` for `(B, S)` texts that the model cannot read: too long, or with ids outside of the
    vocabulary. Synchronises with their device."""
    Vocabulary.of(config).check_ids(tokens, "The texts")
    check_longest(config, tokens, attention_mask)


def check_length(longest: int, accepted: int) -> None:
    """Raises `ValueError` for a text of more than `accepted` tokens; it has `longest`."""
    if longest > accepted:
        raise ValueError(
            f"A text has {longest} tokens, more than the model's `max_position_embeddings` ({accepted}): cut texts "
            "into blocks, for instance by `token_blocks` of `ladd_hf.data`, or give a model of longer ones."
        )


def check_teacher(teacher: Any, student: Any) -> None:
    """Raises `ValueError` unless a model can predict the student's tokens from the student's inputs."""
    if not callable(getattr(teacher, "denoise", None)):
        raise ValueError(f"`teacher` is {described(teacher)}; give a LaddForDiffusionLM, or none.")
    for name in ("vocab_size", "latent_type", "latent_length", "latent_dim", "codebook_size"):
        theirs, ours = getattr(teacher.config, name), getattr(student.config, name)
        if theirs != ours:
            raise ValueError(
                f"`teacher` has `{name}` {theirs}, and this model {ours}: give one of the same tokens and latents."
            )
