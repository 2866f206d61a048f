"""Checks of the options of a pipeline's call, alone and together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ..models.vocabulary import check_tokenizer
from ..schedulers import LaddScheduler
from ..utils.wrong_objects import check_number, described
from .guidance import check_guidance
from .inputs import Prompt


class CheckedCalls:
    """Part of a pipeline: what its calls refuse."""

    if TYPE_CHECKING:
        model: Any
        scheduler: LaddScheduler
        tokenizer: PreTrainedTokenizerBase | None

    def check_inputs(
        self,
        prompt: Prompt | None,
        guidance_scale: float,
        latents: Tensor | None,
        output_type: str | None,
        strength: float = 0.0,
        latent_temperature: float | None = None,
    ) -> None:
        """Raises `ValueError` for options of a call that are invalid, alone or together."""
        if self.tokenizer is not None:  # the model may have been replaced
            check_tokenizer(self.tokenizer, self.model.config)
        check_guidance(guidance_scale, self.model.config)
        check_number("`strength`", strength)
        if not 0 <= strength <= 1 or (strength and latents is None):
            raise ValueError(
                f"`strength` is {strength}; give a time from 0 (clean) to 1 (noise), with `latents` to noise."
            )
        if output_type not in (None, "text", "seq"):
            raise ValueError(f"`output_type` is {output_type!r}; give 'text' or 'seq'.")
        if output_type == "text" and self.tokenizer is None:
            raise ValueError("`output_type` is 'text', but the pipeline has no tokenizer: add one, or ask for 'seq'.")
        if latents is not None and not isinstance(latents, Tensor):
            raise ValueError(f"`latents` is {described(latents)}; give a tensor, as `encode` does.")
        if latent_temperature not in (None, 1) and self.model.config.latent_type == "none":
            raise ValueError(
                f"`latent_temperature` is {latent_temperature}, but the model has no latents: give `temperature`."
            )
        if latent_temperature not in (None, 1) and latents is not None and not strength:
            raise ValueError(
                f"`latent_temperature` is {latent_temperature}, but the given `latents` are clean and none is drawn: "
                "leave it out, or give a `strength`."
            )
        if getattr(self.model.config, "separate_latent_denoiser", False) and (latents is None or strength):
            if prompt is not None:
                raise ValueError(
                    "This model denoises its latents without seeing tokens, so they would ignore the prompt: generate "
                    "without a prompt, or give `latents`."
                )
            if not self.scheduler.path.latents_first:
                raise ValueError(
                    "This model denoises its latents with a network of their own, before the tokens: use "
                    "`LaddSequentialScheduler`, or give `latents`."
                )
