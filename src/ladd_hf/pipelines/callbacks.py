"""Callbacks after each step of a run, and the tensors they may read and replace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from torch import Tensor

from ..models.configuration_ladd import LaddConfig
from ..utils.wrong_objects import described

# Of what a step has written, as the scheduler's output names it.
WRITTEN = ("transfer_index", "sampled_tokens", "sampled_probs")
# There is none here, since prompts are tokens, but diffusers' callbacks of guidance ask for it: an empty tensor.
_EMBEDDINGS = "prompt_embeds"
# Tensors that a callback may receive, and those that it may replace.
TENSORS = ["tokens", "latents", "unmask", *WRITTEN, _EMBEDDINGS]
_CHANGEABLE = ("tokens", "latents")


def tensor_inputs(callback: Any, names: Sequence[str]) -> Sequence[str]:
    """Returns the names of the tensors that a callback is given: `names`, or those that one of diffusers asks for.

    Raises `ValueError` for a callback that is not callable, and for unknown names.
    """
    if callback is not None and not callable(callback):
        raise ValueError(
            f"`callback_on_step_end` is {described(callback)}; give a function of (pipe, step, timestep, tensors)."
        )
    by, says = "`callback_on_step_end_tensor_inputs`", "give a list"
    if isinstance(callback, PipelineCallback | MultiPipelineCallbacks):
        by, names, says = f"`tensor_inputs` of the {type(callback).__name__}", callback.tensor_inputs, "it takes some"
    listed = isinstance(names, Sequence) and not isinstance(names, str)
    unknown = [name for name in names if name not in TENSORS] if listed else names
    if unknown or not listed:
        raise ValueError(f"{by} has {unknown!r}; {says} out of {TENSORS}.")
    return names


def call_back(
    callback: Callable[..., Any],
    pipe: Any,
    index: int,
    timestep: int,
    state: dict[str, Any],
    names: Sequence[str],
    config: LaddConfig,
) -> tuple[Tensor, Tensor | None]:
    """Calls a callback with the `names` of the `state`; returns tokens and latents, replaced by those it returned.

    Raises `ValueError` unless it returned `None` or a mapping of tensors that can replace the loop's.
    """
    state[_EMBEDDINGS] = torch.empty(len(state["tokens"]), 0)
    changed = callback(pipe, index, timestep, {name: state[name] for name in names})
    changed = {} if changed is None else changed
    if not isinstance(changed, Mapping):
        raise ValueError(
            f"The callback returned {described(changed)}; give a dict of those of {list(_CHANGEABLE)} that are to "
            "change, or None."
        )
    for name, value in changed.items():
        if name in state and value is state[name]:
            continue  # unchanged: callbacks may return all their inputs
        if name == _EMBEDDINGS and isinstance(value, Tensor) and not value.numel():
            continue  # rows of nothing
        if name not in _CHANGEABLE:
            raise ValueError(f"The callback returned {name!r}; the loop takes back 'tokens' and 'latents'.")
        _check_alike(name, value, state[name])
        if name == "tokens" and not 0 <= int(value.min()) <= int(value.max()) < config.vocab_size:
            raise ValueError(
                f"The callback returned `tokens` from {int(value.min())} to {int(value.max())}; give ids from 0 to "
                f"{config.vocab_size - 1}."
            )
    return changed.get("tokens", state["tokens"]), changed.get("latents", state["latents"])


def _check_alike(name: str, value: Any, replaced: Tensor | None) -> None:
    if replaced is None:
        raise ValueError(f"The callback returned `{name}`, and this run has none: return the tokens alone.")
    facts = [
        f"shape {tuple(one.shape)}, {one.dtype} on {one.device}" if isinstance(one, Tensor) else described(one)
        for one in (value, replaced)
    ]
    if facts[0] != facts[1]:
        raise ValueError(f"The callback returned `{name}` that are {facts[0]}; the run's are {facts[1]}: return alike.")
