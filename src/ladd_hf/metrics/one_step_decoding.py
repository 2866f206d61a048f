"""Information in latents: the share of tokens that one evaluation recovers from them alone. Watch it in stage 1."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback

from ..models.eval_mode import evaluation_mode
from ..models.fsdp import gathered_for


@torch.no_grad()
def one_step_accuracy(
    model: Any, tokens: Tensor, attention_mask: Tensor | None = None, precomputed_latents: Tensor | None = None
) -> dict[str, float]:
    """Computes the share of tokens that are the likeliest ones of a single evaluation with every token masked.

    Args:
        model: with latents.
        tokens: `(B, S)` clean tokens, two texts or more.
        attention_mask: `(B, S)`, 0 at padding.
        precomputed_latents: precomputed output of a fixed encoder for them, if any.

    Returns `true`: given the texts' own latents; `shuffled`: given another text's; `none`: given uninformative latents.
    Latents that carry the text raise the first far above the others, which should be alike.

    If the model's weights are sharded, every process has to call this, with the same texts.
    """
    config, channel = model.config, model.latent_channel
    if channel is None or len(tokens) < 2:
        raise ValueError(
            f"One-step accuracy needs a model with latents and two texts or more; got `latent_type` "
            f"{config.latent_type!r} and {len(tokens)} texts."
        )
    real = torch.ones_like(tokens, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    masked, ones = torch.where(real, config.mask_token_id, tokens), torch.ones(len(tokens), device=tokens.device)
    shares = {}
    with evaluation_mode(model), gathered_for(model, "encode", "denoise"):
        stored = {} if precomputed_latents is None else {"precomputed_latents": precomputed_latents}
        encode = partial(model.encode, **stored)  # here, where it finds its weights put together
        own = encode(tokens, attention_mask).clean
        given = {"true": (own, 0 * ones), "shuffled": (own.roll(1, 0), 0 * ones), "none": (channel.dropped(own), ones)}
        for name, (latents, latent_times) in given.items():
            logits = model.denoise(
                masked,
                latents,
                token_timesteps=ones,
                latent_timesteps=latent_times,
                attention_mask=attention_mask,
                logits_mask=real,
                predict_latents=False,
            ).logits
            shares[name] = (logits.argmax(-1) == tokens[real]).double().mean().item()
    return shares


class OneStepDecoding(TrainerCallback):
    """Adds the accuracies on a few held-out texts to each log of a training run, as `decoded_true` and so on.

    Args:
        tokens: `(B, S)` held-out tokens, some hundred rows.
        attention_mask, precomputed_latents: as in [`one_step_accuracy`].
    """

    def __init__(
        self, tokens: Tensor, attention_mask: Tensor | None = None, precomputed_latents: Tensor | None = None
    ) -> None:
        self.tokens = tokens
        self.options = {"attention_mask": attention_mask, "precomputed_latents": precomputed_latents}

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, model: Any = None, **kwargs: Any) -> None:
        """Measures, and adds the results to the log in the main process."""
        if not logs or "loss" not in logs:
            return
        # in every process: each may have a part of the weights
        options = {name: None if given is None else given.to(args.device) for name, given in self.options.items()}
        shares = one_step_accuracy(model, self.tokens.to(args.device), **options)
        if not state.is_world_process_zero:
            return
        for entry in (logs, state.log_history[-1]):
            entry.update({f"decoded_{name}": share for name, share in shares.items()})
