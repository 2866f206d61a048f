"""Masked language models of transformers, such as BERT, as denoisers that pipelines and measurements take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..diffusion.channels import EncodedLatents, LatentChannel
from ..diffusion.marginal_bound import MarginalNelbo, check_proposals, marginal_nelbo
from ..diffusion.nelbo import Nelbo, nelbo
from ..diffusion.paths import PathSpec
from ..diffusion.process import NoiseProcess
from ..diffusion.rng import RowGenerator
from ..diffusion.runs import RunSpec
from ..diffusion.step_counts import maskable_tokens
from ..models.call_checks import check_length
from ..models.configuration_ladd import LaddConfig
from ..models.eval_mode import evaluation_mode
from ..models.modeling_outputs import LaddOutput
from ..models.vocabulary import Vocabulary


class MaskedLMDenoiser(nn.Module):
    """A masked language model as a masked diffusion model without latents: what it predicts at a mask is what is drawn.

    Sampling, bounds and the measurements of `ladd_hf.evaluation` work with it; it is not trained here. The mask token,
    padding, and ids without a token of the pipeline's tokenizer are never written and have no probability.

    Args:
        model: of the kind `AutoModelForMaskedLM`.
        mask_token_id: of its tokenizer.
        pad_token_id: of its tokenizer; its configuration's by default.
        length: tokens of a text; the longest that the model takes by default.

    Raises `ValueError` for a mask token beyond the vocabulary, and without a `length` for a model whose configuration
    does not name its number of positions.
    """

    latent_channel: LatentChannel | None = None

    def __init__(
        self,
        model: PreTrainedModel,
        mask_token_id: int,
        pad_token_id: int | None = None,
        length: int | None = None,
    ) -> None:
        super().__init__()
        theirs = model.config
        size = theirs.vocab_size
        if not 0 <= mask_token_id < size:
            raise ValueError(f"`mask_token_id` is {mask_token_id}; give an id of the model's {size:,} tokens.")
        self.model = model
        self.config = LaddConfig(
            vocab_size=size,
            mask_token_id=mask_token_id,
            pad_token_id=theirs.pad_token_id if pad_token_id is None else pad_token_id,
            max_position_embeddings=_longest(model) if length is None else length,
        )
        self.token_channel = NoiseProcess.of(self.config).token_channel()

    @property
    def device(self) -> torch.device:
        """Device of the model's weights."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the model's weights."""
        return self.model.dtype

    def forward(
        self,
        input_ids: Tensor | None,
        latents: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        logits_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> LaddOutput:
        """Evaluates the model: logits `(B, S, V)`, or `(n, V)` at `logits_mask`; it does not read times."""
        logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits
        logits = logits if logits_mask is None else logits[logits_mask]
        return LaddOutput(logits=Vocabulary.of(self.config).without_unwritten(logits))

    denoise = forward

    def encode(self, *args: Any, **kwargs: Any) -> EncodedLatents:
        """Raises `ValueError`: there are no latents."""
        raise ValueError("A masked language model has no latents, so there is nothing to encode.")

    @torch.no_grad()
    def nelbo(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        path: PathSpec | None = None,
        num_samples: int = 8,
        generator: torch.Generator | list[torch.Generator] | RowGenerator | None = None,
        labels: Tensor | None = None,
        run: RunSpec | None = None,
        num_proposals: int | None = None,
    ) -> Nelbo | MarginalNelbo:
        """Estimates the bound of `(B, S)` tokens, as `LaddForDiffusionLM.nelbo` does."""
        labels = input_ids if labels is None else labels
        maskable = maskable_tokens(labels, attention_mask)
        tokens = torch.where(labels < 0, input_ids, labels)
        Vocabulary.of(self.config).check_text(tokens, maskable, "`input_ids`")
        check_length(tokens.shape[1], self.config.max_position_embeddings)
        random = RowGenerator.from_generator(generator, len(input_ids), input_ids.device)
        text = self, tokens, maskable, attention_mask
        check_proposals(run, num_proposals)
        with evaluation_mode(self.model):
            if run is None or num_proposals is None:
                return nelbo(*text, path, num_samples, random, None, run)
            return marginal_nelbo(*text, run, num_proposals, path, random=random)


def _longest(model: PreTrainedModel) -> int:
    """Returns the number of tokens that a model has positions for. Raises `ValueError` if it is not known."""
    positions: int | None = getattr(model.config, "max_position_embeddings", None)
    if positions is None:
        raise ValueError(
            f"The configuration of {type(model).__name__} names no `max_position_embeddings`: give `length`, the "
            "tokens of a text."
        )
    for name, module in model.named_modules():  # as in RoBERTa, whose first position comes after the padding's
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions -= int(module.padding_idx) + 1
    return positions
