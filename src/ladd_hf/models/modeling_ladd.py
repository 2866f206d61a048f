"""The whole method as a transformers model: denoiser, encoder, training loss and bound."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.generic import can_return_tuple

from ..diffusion.anchored_latents import AnchoredLatents
from ..diffusion.channels import EncodedLatents, LatentChannel
from ..diffusion.latent_predictions import AnchorPrediction
from ..diffusion.latents_alone import When
from ..diffusion.objective import TrainingObjective
from ..diffusion.process import NoiseProcess
from ..diffusion.rng import RowGenerator
from ..diffusion.step_counts import StepCounts
from ..diffusion.time_sampling import TrainingNoise
from ..diffusion.training_loss import training_loss
from .adapters import adapter_parameters, has_adapters
from .bounded_texts import BoundedTexts, clean_tokens
from .call_checks import (
    check_estimate,
    check_labels,
    check_latents,
    check_logits_mask,
    check_longest,
    check_targets,
    check_teacher,
    check_times,
    check_tokens,
    check_whole_texts,
    readable,
)
from .chunks import row_spans
from .configuration_ladd import LaddConfig
from .encoders.encoder_options import PretrainedOptions
from .encoders.pretrained import PretrainedEncoder
from .encoders.trained import LaddEncoder, check_finite, check_lengths
from .eval_mode import InEvaluation, evaluation_mode
from .flow_map import tangent_mode
from .gathered_latents import GatheredLatents
from .latent_anchors import LatentAnchors
from .latent_io import LatentDenoiser, LatentHead, LatentPooling
from .modeling_outputs import LaddModelOutput, LaddOutput
from .modeling_streams import LaddModel, one_or_each
from .modeling_utils import LaddPreTrainedModel
from .quantizers.quantizer import Quantizer
from .quantizers.quantizer_options import QUANTIZERS
from .transformer import OutputHead, ZeroInitLinear
from .vocabulary import Vocabulary, take_vocabulary


# `PreTrainedModel` is named here, since loading looks this base up by name as of diffusers 0.42.1.
class LaddForDiffusionLM(GatheredLatents, BoundedTexts, LaddPreTrainedModel, PreTrainedModel):
    """A latent-augmented masked diffusion language model: denoiser, encoder, training loss and bound.

    `latent_type` of the configuration chooses Co-LADD (`continuous`), Di-LADD (`discrete`) or MDLM (`none`).
    """

    _tied_weights_keys = {"token_head.proj.weight": "model.embed_tokens.weight"}

    def __init__(self, config: LaddConfig) -> None:
        super().__init__(config)
        self.model = LaddModel(config)
        cond = self.model.cond_hidden_size
        self.token_head = OutputHead(config.hidden_size, config.vocab_size, cond, config.layer_norm_eps)
        has_latents = config.latent_type != "none"
        pretrained = isinstance(config.encoder_options, PretrainedOptions)
        kind = PretrainedEncoder if pretrained else LaddEncoder
        self.encoder: LaddEncoder | PretrainedEncoder | None = kind(config) if has_latents else None
        discrete = config.latent_type == "discrete"
        self.quantizer: Quantizer | None = None
        if discrete:
            self.quantizer = QUANTIZERS.build(config.quantizer).build(config.latent_dim, config.codebook_size)
        separate = config.separate_latent_denoiser
        self.latent_denoiser = LatentDenoiser(config) if separate else None
        self.latent_head = LatentHead(config, cond) if has_latents and not separate else None
        self.latent_pooling = LatentPooling(config) if config.latent_pooling == "chunk" else None
        anchored = config.latent_type == "continuous" and isinstance(config.latent_prediction, AnchorPrediction)
        self.latent_anchors = LatentAnchors(config) if anchored else None
        process = NoiseProcess.of(config)
        self.token_channel, self._latent_channel = process.token_channel(), process.latent_channel()
        self.latents_alone: When = config.latents_alone
        self.latent_encoder_frozen = False
        self.post_init()
        self._keys_to_ignore_on_load_unexpected = set()  # those of `LaddModel`, which are parts of this one
        if getattr(config.encoder_options, "trained", False) and self.device.type != "meta":
            cast(PretrainedEncoder, self.encoder).load_pretrained()  # else a checkpoint provides the weights

    @property
    def self_conditioning(self) -> bool:
        """True if the last predicted y_0 is an input of the denoiser."""
        return self.config.latent_self_conditioning

    @property
    def flow_map(self) -> bool:
        """True if the time that a step of the latents leads to is an input of the denoiser."""
        return self.config.latent_flow_map

    def with_tangents(self) -> AbstractContextManager[None]:
        """Context in which forward derivatives of the model can be computed: without dropout, and with eager attention,
        for fused kernels have none as of torch 2.13.0 (pytorch/pytorch#128971)."""
        return tangent_mode(self)

    @property
    def latent_channel(self) -> LatentChannel | None:
        """The channel of the latents, `None` without."""
        channel, anchors = self._latent_channel, self.latent_anchors
        if anchors is None:
            return channel
        return cast(AnchoredLatents, channel).with_anchors(anchors.anchors)

    def get_output_embeddings(self) -> nn.Linear:
        """Returns the vocabulary projection."""
        return self.token_head.proj

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replaces the vocabulary projection."""
        self.token_head.proj = new_embeddings

    def _resize_other_embeddings(self, mean_resizing: bool) -> None:
        if isinstance(self.encoder, LaddEncoder):
            self.encoder.embed_tokens = self._get_resized_embeddings(
                self.encoder.embed_tokens, self.config.vocab_size, mean_resizing=mean_resizing
            )

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        latents: Tensor | None = None,
        token_timesteps: Tensor | None = None,
        latent_timesteps: Tensor | None = None,
        attention_mask: Tensor | None = None,
        logits_mask: Tensor | None = None,
        labels: Tensor | None = None,
        latent_vectors: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        predict_latents: bool = True,
        latent_estimate: Tensor | None = None,
        latent_target_timesteps: Tensor | None = None,
        objective: TrainingObjective | None = None,
        noise: TrainingNoise | None = None,
        loss_only: bool = False,
        precomputed_latents: Tensor | None = None,
        counts: StepCounts | None = None,
        teacher: LaddForDiffusionLM | None = None,
        **kwargs: Any,
    ) -> LaddOutput:
        """Evaluates the denoiser once; with `labels`, also returns the training loss.

        Args:
            input_ids: `(B, S)` tokens, the mask token where noised. `None` denoises the latents alone, with a
                `separate` latent denoiser, or one that `skips_masked_tokens`.
            latents: `(B, M, D)` noisy latents or `(B, M)` codes, the mask code where noised; `None` for tokens alone.
            token_timesteps, latent_timesteps: `(B,)` times in [0, 1], if the model is conditioned on them.
            attention_mask: `(B, S)`, 0 at padding, before or after a text. Of latents alone it says how long texts are;
                without it they are as long as can be.
            logits_mask: `(B, S)` bool: compute logits only there, in row-major order.
            labels: `(B, S)` clean tokens, -100 where a token is neither noised nor scored (its `input_ids` stay
                visible). Times and noise are drawn, and `loss` is the training loss. If no times and no other inputs of
                a noisy call are given, the network runs once, and `logits` `(n, V)` and `latent_prediction` are those
                of the loss, at `logits_positions` `(n,)`; otherwise the loss takes a second evaluation.
            latent_vectors: `(B, M, D)` vectors of the clean codes, used instead of the codebook's to pass gradients to
                an encoder.
            inputs_embeds: `(B, S, hidden_size)` instead of `input_ids`.
            predict_latents: with `separate_latent_denoiser`, run it as well; not needed for clean latents.
            latent_estimate: `(B, M, D)`, with `latent_self_conditioning` the y_0 that the last evaluation of a run
                predicted, see [`LaddScheduler.latent_estimate`]; zero by default.
            latent_target_timesteps: `(B,)` or one for all, with `latent_flow_map` the time that a step leads the
                latents to, `plan.latent_target` of a scheduler; by default their own, which predicts the mean of y_0.
            objective: settings of `loss`; the paper's by default.
            noise: the examples' random numbers; from torch's global generator by default.
            loss_only: return only the loss, so that training does not keep or convert large outputs.
            precomputed_latents: `(B, M * D)` or `(B, M, D)`, for `loss`: a fixed pretrained encoder's output for the
                clean tokens, stored by `precompute_latents`, so that it is not run.
            counts: for `loss`, the counts of the whole optimiser step; by default those of this batch alone.
            teacher: for `loss`, the model that its terms of consistency and MeanFlow aim at; by default this one.

        Raises `ValueError` for latents that do not fit the model, for a missing time that the model is conditioned on,
        for a teacher of another vocabulary or kind of latents, and for precomputed latents together with terms that
        hide tokens from the encoder.
        """
        if labels is not None:
            check_labels(labels, input_ids)
        asked = (
            latents,
            token_timesteps,
            latent_timesteps,
            logits_mask,
            latent_vectors,
            inputs_embeds,
            latent_estimate,
            latent_target_timesteps,
        )
        of_call = labels is None or kwargs or any(one is not None for one in asked)
        output = LaddOutput()
        if of_call and not loss_only:
            output = self.denoise(
                input_ids,
                latents,
                token_timesteps=token_timesteps,
                latent_timesteps=latent_timesteps,
                attention_mask=attention_mask,
                logits_mask=logits_mask,
                latent_vectors=latent_vectors,
                inputs_embeds=inputs_embeds,
                predict_latents=predict_latents,
                latent_estimate=latent_estimate,
                latent_target_timesteps=latent_target_timesteps,
                **kwargs,
            )
        if labels is not None:
            noise = noise or TrainingNoise.draw(len(labels), labels.device)
            tokens, maskable = clean_tokens(self.config, input_ids, labels, attention_mask)
            if readable(tokens):
                Vocabulary.of(self.config).check_text(tokens, maskable, "`labels`")
                check_longest(self.config, tokens, attention_mask)
            objective = objective or TrainingObjective()
            encode = partial(self.encode, precomputed_latents=precomputed_latents)
            if precomputed_latents is not None:
                objective.check_precomputed()
            if teacher is not None:
                check_teacher(teacher, self)
            teaches = InEvaluation(self if teacher is None else teacher)
            loss = training_loss(self, tokens, maskable, attention_mask, objective, noise, encode, counts, teaches)
            if not of_call and not loss_only:
                output = loss.evaluation
                output.logits_positions = loss.masked.flatten().nonzero().squeeze(1)
            output.loss, output.loss_parts, output.statistics = loss.total, loss.parts, loss.statistics
            output.time_moments = loss.time_moments
        elif loss_only:
            raise ValueError("`loss_only` needs `labels`, the clean tokens to noise and to score.")
        return output

    def denoise(
        self,
        input_ids: Tensor | None,
        latents: Tensor | None = None,
        *,
        token_timesteps: Tensor | None = None,
        latent_timesteps: Tensor | None = None,
        attention_mask: Tensor | None = None,
        logits_mask: Tensor | None = None,
        latent_vectors: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        predict_latents: bool = True,
        latent_estimate: Tensor | None = None,
        latent_target_timesteps: Tensor | None = None,
        **kwargs: Any,
    ) -> LaddOutput:
        """Evaluates the denoiser once, like `forward` without a loss."""
        given = input_ids if inputs_embeds is None else inputs_embeds
        if given is not None:
            check_tokens(self.config, input_ids, inputs_embeds, attention_mask)
            if logits_mask is not None:
                check_logits_mask(logits_mask, given.shape[:2])
        if latents is not None:
            check_latents(self.config, latents, None if given is None else len(given))
        if latent_estimate is not None:
            check_estimate(self.config, latent_estimate, latents)
        targets = latent_target_timesteps
        if targets is not None:
            check_targets(self.config, targets, latent_timesteps, latents)
            targets = one_or_each(targets)
        vectors = None if latents is None else self._latent_vectors(latents, latent_vectors)
        prediction = None
        if self.latent_denoiser is not None and vectors is not None and predict_latents:
            check_times(len(vectors), latent_timesteps=latent_timesteps)
            times = None if latent_timesteps is None else one_or_each(latent_timesteps)
            prediction = self.latent_denoiser(vectors, times, latent_estimate, targets)
            prediction = self._latent_posterior(prediction, latents, latent_timesteps)
        if given is None and prediction is not None:
            return LaddOutput(latent_prediction=prediction, **self._anchors_of(prediction))
        if given is None and (vectors is None or self.latents_alone != "masked"):
            raise ValueError(
                "Neither `input_ids` nor `inputs_embeds` is given: only a model with a `separate` latent denoiser, or "
                "one that `skips_masked_tokens`, runs on latents alone."
            )
        out = self.model(
            input_ids,
            vectors,
            token_timesteps,
            latent_timesteps,
            attention_mask,
            inputs_embeds,
            latent_estimate,
            targets,
            **kwargs,
        )
        logits = None
        if out.last_hidden_state is not None:
            states = self.token_head.modulate(out.last_hidden_state, out.conditioning)
            logits = self._token_logits(states if logits_mask is None else states[logits_mask])
        if self.latent_head is not None and out.latent_hidden_state is not None:
            latent_states = out.latent_hidden_state
            tokens = out.last_hidden_state
            if self.latent_pooling is not None and tokens is not None:
                latent_states = latent_states + self.latent_pooling(tokens, *row_spans(attention_mask, tokens))
            prediction = self.latent_head(latent_states, out.conditioning)
            prediction = self._latent_posterior(prediction, latents, latent_timesteps)
        return LaddOutput(
            logits=logits,
            latent_prediction=prediction,
            **self._anchors_of(prediction),
            hidden_states=None if logits is None else out.hidden_states,
            attentions=out.attentions,
        )

    def encode(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None = None,
        random: RowGenerator | None = None,
        update_codebook: bool = True,
        precomputed_latents: Tensor | None = None,
        feature_noise: float = 0.0,
    ) -> EncodedLatents:
        """Encodes `(B, S)` tokens to clean latents for training; see [`EncodedLatents`].

        `precomputed_latents` are a fixed pretrained encoder's output for the tokens, used instead of running it.
        `feature_noise` is the standard deviation of noise on the encoder's input, in units of its root mean square.

        The codebook is updated only if gradients are computed and `update_codebook` allows it, and neither in stage 2
        nor with adapters or other fixed weights of the encoder. Raises `ValueError` for a model without latents, for
        precomputed ones if the encoder is trained, and for a text with fewer tokens than latents (if it is padded, on
        an accelerator, only without gradients: the check would stall the device in training).
        """
        if self.encoder is None:
            raise ValueError("This model has no latents (`latent_type` 'none'), so there is nothing to encode.")
        if precomputed_latents is not None and isinstance(self.encoder, LaddEncoder):
            raise ValueError(
                "The encoder is trained with the model, so its latents cannot be had beforehand: leave "
                "`precomputed_latents` out, or name a pretrained encoder in `encoder.name_or_path`."
            )
        check_tokens(self.config, tokens, None, attention_mask)
        check_lengths(self.config, tokens, attention_mask, wait=not torch.is_grad_enabled())
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.latent_encoder_frozen):
            if isinstance(self.encoder, PretrainedEncoder):
                given = precomputed_latents, self.dtype
                encoded = self.encoder(tokens, attention_mask, random, *given, feature_noise)
            else:
                encoded = self.encoder(tokens, attention_mask, random, feature_noise)
            if not torch.is_grad_enabled():  # training does not synchronise; there the loss becomes nan
                check_finite(encoded.vectors)
            if self.quantizer is not None:
                learns = torch.is_grad_enabled() and all(p.requires_grad for p in self.encoder.parameters())
                quantized = self.quantizer(encoded.vectors, not (learns and update_codebook), random)
                encoded = EncodedLatents(
                    quantized.vectors, encoded.kl, quantized.codes, quantized.loss, quantized.unquantized
                )
            if self.latent_anchors is not None:
                snapped = self.latent_anchors.snapped(encoded.vectors)
                encoded = replace(encoded, vectors=snapped, unquantized=encoded.vectors)
        return encoded

    def code_vectors(self, codes: Tensor) -> Tensor:
        """Returns the codebook's vectors of clean codes, `(B, M)` to `(B, M, D)`. Raises `ValueError` for a model
        without codes."""
        if self.quantizer is None:
            raise ValueError(f"This model has no codes (`latent_type` {self.config.latent_type!r}).")
        return self.quantizer.codes_to_vectors(codes)

    @torch.no_grad()
    def encode_latents(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Encodes `(B, S)` tokens to clean latents: `(B, M, D)` vectors or `(B, M)` codes, to generate from or to
        compare."""
        check_tokens(self.config, input_ids, None, attention_mask)
        check_whole_texts(self.config, input_ids, attention_mask)
        with evaluation_mode(self):
            return self.encode(input_ids, attention_mask).clean

    def set_tokenizer(self, tokenizer: PreTrainedTokenizerBase | None) -> None:
        """Sets the tokenizer of the model's ids: ids without a token are never generated, and a pretrained encoder
        reads their text with it (`encoder.tokenizer` 'own') or checks that it shares the ids. Trainer and pipeline call
        this by themselves."""
        if tokenizer is not None:
            take_vocabulary(self.config, tokenizer)
        if isinstance(self.encoder, PretrainedEncoder):
            self.encoder.set_model_tokenizer(tokenizer)

    def freeze_latent_encoder(self, frozen: bool = True) -> None:
        """Fixes the encoder and the quantiser, as in stage 2 of the training, or unfreezes them: with adapters only the
        active adapters."""
        self.latent_encoder_frozen = frozen
        adapted = has_adapters(self)
        for module in (self.encoder, self.quantizer):
            if module is not None:
                for parameter in adapter_parameters(module) if adapted and not frozen else module.parameters():
                    parameter.requires_grad_(not frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> LaddForDiffusionLM:
        """Extends `train`: a frozen encoder stays in evaluation mode, without dropout."""
        super().train(mode)
        if mode and self.latent_encoder_frozen:
            for module in (self.encoder, self.quantizer):
                if module is not None:
                    module.eval()
        return self

    def _latent_posterior(self, prediction: Tensor, noisy: Tensor | None, t: Tensor | None) -> Tensor:
        """Returns the head's output as the prediction: of anchors with their frequencies and likelihoods."""
        if self.latent_anchors is None:
            return prediction
        if t is None or noisy is None:
            raise ValueError("The likelihood of the anchors depends on time: give `latent_timesteps`.")
        check_times(len(noisy), latent_timesteps=t)
        return cast(Tensor, self.latent_anchors(prediction, noisy, one_or_each(t)))

    def _anchors_of(self, prediction: Tensor | None) -> dict[str, Any]:
        """Returns what the output of a prediction of anchors says about them."""
        if self.latent_anchors is None or prediction is None:
            return {}
        found = {"latent_anchors": self.latent_anchors.points}
        return (
            found if self.latent_anchors.options.snap else found | {"latent_anchor_spread": self.latent_anchors.spread}
        )

    def _latent_vectors(self, latents: Tensor, clean_vectors: Tensor | None) -> Tensor:
        """Returns the input of the latent stream, `(B, M, D)`: codes as their vectors, the mask code as a learned
        one."""
        if self.quantizer is None or self.model.mask_vector is None:
            return latents
        masked, mask_vector = latents == self.config.codebook_size, self.model.mask_vector
        if clean_vectors is None:
            clean_vectors = self.quantizer.codes_to_vectors(latents.masked_fill(masked, 0))
        return torch.where(masked[..., None], mask_vector, clean_vectors.to(mask_vector))

    def _token_logits(self, states: Tensor) -> Tensor:
        """Computes the vocabulary projection, with tokens that are never generated, such as the mask token, at minus
        infinity in the bias, at no cost."""
        head = self.token_head.proj
        never = Vocabulary.of(self.config).never_written(self.config.vocab_size, states.device)
        plain = type(head) in (nn.Linear, ZeroInitLinear) and not hasattr(head, "_hf_hook")
        if not plain:  # with an adapter, quantised, or with weights gathered in its call
            return head(states).masked_fill(never, float("-inf"))
        return nn.functional.linear(states, head.weight, head.bias.masked_fill(never, float("-inf")))


LaddPreTrainedModel._main_module = __name__
LaddPreTrainedModel._auto_classes = {
    "AutoConfig": LaddConfig,
    "AutoModel": LaddModel,
    "AutoModelForMaskedLM": LaddForDiffusionLM,
}

__all__ = ["LaddForDiffusionLM", "LaddModel", "LaddModelOutput", "LaddOutput", "LaddPreTrainedModel"]
