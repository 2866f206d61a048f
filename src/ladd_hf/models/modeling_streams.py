"""The two streams of the denoiser as a transformers model, from embeddings to the last block. Paper, section 5."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .call_checks import check_lengths_of_latents, check_times, check_tokens
from .chunks import row_spans
from .configuration_ladd import LaddConfig
from .flow_map import JumpEmbedding
from .latent_io import LatentInput, LatentUnpooling, model_rotary, stream_positions, timestep_scale
from .modeling_outputs import LaddModelOutput
from .modeling_utils import LaddPreTrainedModel
from .transformer import LaddBlock, TimestepEmbedding


class LaddModel(LaddPreTrainedModel):
    """The two streams of the denoiser, from embeddings to the last block. Paper, section 5.

    With `latent_type="none"` it has the token stream alone, which is MDLM.
    """

    _is_part = True
    # The other parts of a [`LaddForDiffusionLM`], whose folders this loads from without a report of them.
    _keys_to_ignore_on_load_unexpected = [
        rf"^{part}\."
        for part in (
            *("token_head", "encoder", "quantizer", "latent_denoiser", "latent_head", "latent_pooling"),
            "latent_anchors",
        )
    ]

    def __init__(self, config: LaddConfig) -> None:
        super().__init__(config)
        has_latents = config.latent_type != "none"
        self.embed_tokens: nn.Module = nn.Embedding(config.vocab_size, config.hidden_size)
        self.latent_input = LatentInput(config) if has_latents else None
        self.latent_unpooling = LatentUnpooling(config) if config.latent_unpooling == "chunk" else None
        discrete = config.latent_type == "discrete"
        self.mask_vector = nn.Parameter(torch.zeros(config.latent_dim)) if discrete else None
        scale = timestep_scale(config)
        time_conditioned = config.token_time_conditioning, has_latents and config.latent_time_conditioning
        self.token_time_embedding = TimestepEmbedding(config.cond_hidden_size, scale) if time_conditioned[0] else None
        self.latent_time_embedding = TimestepEmbedding(config.cond_hidden_size, scale) if time_conditioned[1] else None
        jumps = config.latent_flow_map and not config.separate_latent_denoiser
        self.jump_embedding = JumpEmbedding(config.cond_hidden_size) if jumps else None
        self.cond_hidden_size = config.cond_hidden_size if any(time_conditioned) else 0
        streams = ("token", "latent") if has_latents else ("token",)
        # With a separate latent denoiser, the latents' states after the last block are not used.
        last = config.num_hidden_layers - 1 if config.separate_latent_denoiser else None
        sizes = config.hidden_size, config.num_attention_heads, self.cond_hidden_size
        self.blocks = nn.ModuleList(
            [
                LaddBlock(config, streams, *sizes, read_only="latent" if layer == last else None)
                for layer in range(config.num_hidden_layers)
            ]
        )
        self.skips_masked_tokens = config.latents_alone == "masked"
        self.gradient_checkpointing = False
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Returns the token embedding."""
        return self.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the token embedding."""
        self.embed_tokens = value

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Tensor | None = None,
        latent_vectors: Tensor | None = None,
        token_timesteps: Tensor | None = None,
        latent_timesteps: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        latent_estimate: Tensor | None = None,
        latent_target_timesteps: Tensor | None = None,
        **kwargs: Any,
    ) -> LaddModelOutput:
        """Runs both streams, or the token stream alone if `latent_vectors` is `None`.

        With `skips_masked_tokens`, without tokens the latents' alone; `attention_mask` then says how long texts are.

        Args:
            input_ids: `(B, S)`, or `inputs_embeds` `(B, S, hidden_size)` instead.
            latent_vectors: `(B, M, D)`.
            token_timesteps, latent_timesteps: `(B,)` in [0, 1], if the model is conditioned on them.
            attention_mask: `(B, S)`, 0 at padding.
            latent_estimate: `(B, M, D)`, with `latent_self_conditioning` the last predicted y_0; zero by default.
            latent_target_timesteps: `(B,)`, with `latent_flow_map` the times that a step leads the latents to; those
                that they have by default.
        """
        without_tokens = input_ids is None and inputs_embeds is None
        skips = without_tokens and latent_vectors is not None and self.skips_masked_tokens
        if (input_ids is None) == (inputs_embeds is None) and not skips:
            raise ValueError("Give exactly one of `input_ids` and `inputs_embeds`.")
        states, latent_states = inputs_embeds, None
        if not skips:
            check_tokens(self.config, input_ids, inputs_embeds, attention_mask)
            states = self.embed_tokens(input_ids) if states is None else states
        given = latent_vectors if states is None else states
        assert given is not None  # or there would be neither tokens nor latents
        batch_size = len(given)
        check_times(batch_size, token_timesteps=token_timesteps, latent_timesteps=latent_timesteps)
        times = None
        if latent_vectors is not None:
            if self.latent_input is None:
                raise ValueError("This model has no latents (`latent_type` 'none'): call it without `latent_vectors`.")
            times = None if latent_timesteps is None else one_or_each(latent_timesteps)
            latent_states = self.latent_input(latent_vectors, times, latent_estimate)
        embedded = self._embedded_times(batch_size, token_timesteps, latent_timesteps, latent_vectors is not None)
        if self.jump_embedding is not None and times is not None and latent_target_timesteps is not None:
            targets, of_latents = one_or_each(latent_target_timesteps), embedded["latent_timesteps"]
            embedded["jump"] = self.jump_embedding(times, targets, of_latents)
        if latent_states is not None and states is None:
            check_lengths_of_latents(attention_mask, batch_size)
        elif latent_states is not None and states is not None and self.latent_unpooling is not None:
            spans = row_spans(attention_mask, states)
            noise = times, embedded.get("latent_timesteps")
            states = states + self.latent_unpooling(latent_states, *spans, states.shape[1], *noise)
        conditioning = sum(list(embedded.values())[1:], next(iter(embedded.values()))) if embedded else None
        streams = [one for one in (states, latent_states) if one is not None]
        everything = streams[0] if len(streams) == 1 else torch.cat(streams, dim=1)

        positions = stream_positions(self.config, states, latent_states, attention_mask)
        rotary = model_rotary(self.config, positions, everything.dtype)
        if states is None:
            attention_mask = None  # no latent is padding
        elif attention_mask is not None and latent_states is not None:
            attention_mask = nn.functional.pad(attention_mask, (0, latent_states.shape[1]), value=1)
        mask = create_bidirectional_mask(config=self.config, inputs_embeds=everything, attention_mask=attention_mask)
        of_blocks = conditioning
        if self.config.reference_layout and conditioning is not None:
            of_blocks = nn.functional.silu(conditioning)  # before the SiLU of every modulation
        for block in self.blocks:
            states, latent_states = block(states, latent_states, of_blocks, rotary, mask, **kwargs)
        return LaddModelOutput(states, latent_states, conditioning)

    def _embedded_times(
        self, batch_size: int, token_timesteps: Tensor | None, latent_timesteps: Tensor | None, with_latents: bool
    ) -> dict[str, Tensor]:
        """Returns emb(t_x) and emb(t_y) by the times' names, as far as the model is conditioned on them:
        `(B, cond_hidden_size)`, or `(1, ...)` if the batch has one time."""
        embedded = {}
        for name, embedding, timesteps in (
            ("token_timesteps", self.token_time_embedding, token_timesteps),
            ("latent_timesteps", self.latent_time_embedding if with_latents else None, latent_timesteps),
        ):
            if embedding is None:
                continue
            if timesteps is None:
                raise ValueError(f"This model is conditioned on time: give `{name}` of shape ({batch_size},).")
            embedded[name] = embedding(one_or_each(timesteps))
        return embedded


def one_or_each(timesteps: Tensor) -> Tensor:
    """Returns `(1,)` or `(B,)` times. A common time is not expanded: it is embedded once, by the same kernels for any
    batch size, so that rounding does not depend on the batch."""
    return timesteps.reshape(1) if timesteps.ndim == 0 else timesteps


__all__ = ["LaddModel"]
