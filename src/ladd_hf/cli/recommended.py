"""Recommended latents and stages of a run whose recipe leaves them open, and the sentences that tell of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..models.configuration_ladd import LaddConfig
from ..models.encoders.encoder_options import PretrainedOptions
from ..models.recommended_settings import number_of_latents
from ..tasks import Task
from ..training.model_card import METHODS
from ..training.stages import Stage


def recommended_config(given: Mapping[str, Any], size: str | None, task: Task, num_tokens: int | None) -> LaddConfig:
    """Returns the configuration for a task whose training texts have `num_tokens` tokens (`None`: many), with the
    settings that are `given`."""
    settings = dict(given)
    kind = settings.pop("latent_type", "none")
    return LaddConfig.recommended(task.vocabulary, kind, task.length, num_tokens, size, **settings)


def recommended_stages(config: LaddConfig, max_steps: int) -> list[dict[str, Any]]:
    """Returns the stages of a run as data."""
    return [stage.as_data() for stage in Stage.recommended(config, max_steps)]


def least_tokens(given: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, length: int) -> int:
    """Returns the number of tokens of a text, one for each recommended latent of a chunk."""
    if given.get("latent_type", "none") == "none":
        return 1
    number = given.get("latent_length") or number_of_latents(length, len(tokenizer))
    return max(1, number - given.get("global_latents", 0))


def number_of_tokens(blocks: Any, length: int) -> int | None:
    """Returns the number of tokens of training blocks; `None` for a stream, of which it is not known."""
    return len(blocks) * length if hasattr(blocks, "__len__") else None


def told_data(task: Task, blocks: Any) -> str:
    """Tells how much of a task's data is trained on, and how much is held out."""
    held_out = task.num_held_out
    trained = f"{len(blocks):,} sequences" if hasattr(blocks, "__len__") else "a stream of sequences"
    counted = f"{held_out:,}" if held_out < sys.maxsize else "some"
    return f"{task.name}: {trained} to train on, {counted} held out."


def told_choice(config: LaddConfig, stages: Sequence[tuple[str, int]]) -> str:
    """Tells which latents and stages, with their numbers of steps, were chosen."""
    if config.latent_type == "none":
        return "Recommended: MDLM, without latents."
    tokens = config.max_position_embeddings / config.latent_length
    each = f"one for every {tokens:.3g} tokens" if tokens > 1 else "one for every token"
    kinds = ""
    if config.latent_type == "discrete" and not isinstance(config.encoder_options, PretrainedOptions):
        kinds = f", out of {config.codebook_size:,} codes"
    if isinstance(prediction := config.latent_prediction_type, Mapping) and "count" in prediction:
        kinds = f", out of {prediction['count']:,} anchors"
    lengths = ", ".join(f"{name} {steps:,}" for name, steps in stages)
    many = f"{config.latent_length} latents" if config.latent_length > 1 else "1 latent"
    return (
        f"Recommended: {METHODS[config.latent_type]} with {many}, {each}{kinds}; stages, in "
        f"steps: {lengths}. Any flag of --help changes it."
    )
