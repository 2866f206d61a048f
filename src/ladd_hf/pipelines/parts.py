"""Checks of the components of a pipeline."""

from __future__ import annotations

from typing import Any

from ..diffusion.process import NOISE_FIELDS
from ..schedulers import LaddScheduler
from ..utils.wrong_objects import described

# Attributes of a model's configuration that every run reads.
_OF_THE_CONFIG = (
    *NOISE_FIELDS,
    *("vocab_size", "max_position_embeddings", "latent_length", "token_time_conditioning"),
)


def check_model(model: Any) -> None:
    """Raises `ValueError` unless `model` is a denoiser: callable, with the configuration of a LADD model."""
    accepted = "give a LaddForDiffusionLM, plain, adapted or compiled, or anything with its call and its `config`"
    if isinstance(model, str):
        raise ValueError(f"`model` is {described(model)}; {accepted} (`LaddPipeline.from_pretrained` loads by name).")
    if isinstance(model, type) or not callable(model):
        raise ValueError(f"`model` is {described(model)}; {accepted}.")
    config = getattr(model, "config", None)
    missing = [name for name in _OF_THE_CONFIG if not hasattr(config, name)]
    if missing:
        lacks = "no `config`" if config is None else f"a `config` without `{missing[0]}`"
        raise ValueError(f"`model` is {described(model)}, with {lacks}; {accepted}.")


def check_scheduler(scheduler: Any) -> None:
    """Raises `ValueError` unless `scheduler` is a [`LaddScheduler`]."""
    if not isinstance(scheduler, LaddScheduler):
        raise ValueError(
            f"`scheduler` is {described(scheduler)}; give a scheduler of token and latent times, such as "
            "LaddJointScheduler() or LaddSequentialScheduler()."
        )
