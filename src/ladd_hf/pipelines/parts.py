"""Checks of the components of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffusers import SchedulerMixin
from transformers import PreTrainedTokenizerBase

from ..diffusion.process import NOISE_FIELDS
from ..models.modeling_ladd import LaddForDiffusionLM
from ..models.vocabulary import check_tokenizer, has_tokens_of, take_vocabulary
from ..schedulers import LaddJointScheduler, LaddScheduler
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
    if isinstance(scheduler, LaddScheduler):
        return
    known, accepted = "", "LaddJointScheduler() or LaddSequentialScheduler()"
    if isinstance(scheduler, SchedulerMixin):
        known = ", whose steps know no token and latent times"
    elif isinstance(scheduler, PreTrainedTokenizerBase):
        accepted += ", or leave it out and give the tokenizer by name (`tokenizer=`)"
    raise ValueError(
        f"`scheduler` is {described(scheduler)}{known}; give a scheduler of token and latent times, such as {accepted}."
    )


class CheckedParts:
    """Part of a pipeline: components that are checked, and made known to each other, also where they are replaced."""

    if TYPE_CHECKING:
        model: Any
        register_modules: Any

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute and checks components; `scheduler = None` sets the default one.

        Raises `ValueError` for an invalid component.
        """
        if name == "model":
            check_model(value)
        elif name == "scheduler":
            value = LaddJointScheduler() if value is None else value
            check_scheduler(value)
            if (model := self.__dict__.get("model")) is not None:
                value = value.for_model(model.config)
        elif name == "tokenizer" and value is not None:
            check_tokenizer(value, self.model.config)
        if name == "tokenizer" and value is not None and self.__dict__.get(name, value) is None:
            # register again: a tokenizer that replaces `None` would not be saved otherwise, as of diffusers 0.42.1
            del self.__dict__[name]
            return self.register_modules(tokenizer=value)
        if name in ("model", "tokenizer"):
            parts = {part: self.__dict__.get(part) for part in ("model", "tokenizer")}
            self._introduce(**{**parts, name: value})
        super().__setattr__(name, value)

    @staticmethod
    def _introduce(model: Any, tokenizer: PreTrainedTokenizerBase | None) -> None:
        """Sets the tokenizer of a model, unless the model expects another one."""
        if tokenizer is None or not has_tokens_of(model.config, tokenizer):
            return
        take_vocabulary(model.config, tokenizer)
        if isinstance(model, LaddForDiffusionLM):
            model.set_tokenizer(tokenizer)
