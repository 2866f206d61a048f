"""Facts about an encoder's outputs that a model gathers once: statistics to standardise them by, and anchors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from ..diffusion.channels import EncodedLatents
from ..diffusion.rng import RowGenerator
from .call_checks import check_whole_texts
from .encoders.pretrained import PretrainedEncoder, batches_of, feature_batches
from .encoders.statistics import LatentStatistics
from .encoders.trained import LaddEncoder, check_finite, check_lengths
from .eval_mode import evaluation_mode
from .fsdp import gathered_for
from .latent_anchors import LatentAnchors


class GatheredLatents:
    """Part of a model with an `encoder`, `encode` and `latent_anchors` that reads training texts once."""

    if TYPE_CHECKING:
        config: Any
        device: torch.device
        dtype: torch.dtype
        encoder: Any
        latent_anchors: LatentAnchors | None
        encode: Callable[..., EncodedLatents]

    def gather_latent_statistics(self, data: Iterable[Mapping[str, Any]], num_examples: int | None = None) -> int:
        """Gathers the statistics of `encoder.standardization`, and returns the number of vectors.

        An encoder of our own must not change any more; of one with a variance they are those of drawn latents.

        Args:
            data: examples with `input_ids` (and perhaps `attention_mask`), such as a dataset's, or batches of them as
                tensors. Those with `precomputed_latents` are not encoded.
            num_examples: number of examples to read; some thousands suffice.

        If the model's weights are sharded, every process has to call this, with the same texts. Raises `ValueError` for
        a model without standardisation, for too few examples, and for non-finite outputs of the encoder.
        """
        encoder = self.encoder
        if encoder is None or encoder.statistics is None:
            raise ValueError("This model standardises no latents: set `encoder.standardization` in its configuration.")
        with evaluation_mode(self), torch.no_grad(), gathered_for(self, "latents_as_read"):
            batches = batches_of(data, num_examples, self.config.pad_token_id or 0, self.device)
            if isinstance(encoder, PretrainedEncoder):
                features = feature_batches(encoder, batches, self.dtype)
                return encoder.statistics.gather(features, encoder.options.name_or_path)
            return cast(LatentStatistics, encoder.statistics).gather(self._outputs(batches))

    def gather_latent_anchors(
        self, data: Iterable[Mapping[str, Any]], num_examples: int | None = None, seed: int = 0
    ) -> int:
        """Finds the anchors of `latent_prediction_type` "anchors": the k-means centres of the encoder's outputs, which
        must not change any more. Returns the number of outputs. Of an encoder with a variance they are its means if
        latents are snapped to anchors, and drawn latents otherwise.

        Args:
            data, num_examples: as in `gather_latent_statistics`; some ten latents for each anchor suffice.
            seed: of the k-means.

        If the model's weights are sharded, every process has to call this, with the same texts. Raises `ValueError` for
        a model without anchors, and for fewer different outputs than anchors.
        """
        if self.latent_anchors is None:
            raise ValueError(
                "This model has no anchors: set `latent_prediction_type` 'anchors' in its configuration, with "
                "`latent_type` 'continuous'."
            )
        outputs: list[Tensor] = []
        with evaluation_mode(self), torch.no_grad(), gathered_for(self, "encode"):
            for batch in batches_of(data, num_examples, self.config.pad_token_id or 0, self.device, size=256):
                encoded = self.encode(
                    batch["input_ids"],
                    batch.get("attention_mask"),
                    None if self.latent_anchors.options.snap else _random(sum(map(len, outputs)), batch["input_ids"]),
                    precomputed_latents=batch.get("precomputed_latents"),
                )
                outputs.append(encoded.vectors if encoded.unquantized is None else encoded.unquantized)
        if not outputs:
            raise ValueError("There are no texts to find anchors in: give a data set with `input_ids`.")
        vectors = torch.cat(outputs).flatten(0, 1)
        self.latent_anchors.find(vectors, seed)
        return len(vectors)

    def latents_as_read(
        self, tokens: Tensor, attention_mask: Tensor | None = None, random: RowGenerator | None = None
    ) -> Tensor:
        """Encodes `(B, S)` tokens with an encoder of our own to `(B, M, D)` latents as they will be diffused, before
        they are standardised."""
        return cast(Tensor, self.encoder(tokens, attention_mask, random, standardised=False).vectors)

    def _outputs(self, batches: Iterable[Mapping[str, Tensor]]) -> Iterator[Tensor]:
        """Yields `latents_as_read` of batches of tokens."""
        first = 0
        for batch in batches:
            tokens, mask = batch["input_ids"], batch.get("attention_mask")
            check_whole_texts(self.config, tokens, mask)
            check_lengths(self.config, tokens, mask, wait=True)
            vectors = self.latents_as_read(tokens, mask, _random(first, tokens))
            check_finite(vectors)
            yield vectors
            first += len(tokens)

    def forget_gathered_latents(self) -> None:
        """Takes away the statistics and anchors of outputs of an encoder of our own, or a projection, that is trained
        anew; those of a pretrained encoder's features, which do not change, stay."""
        if self.standardises_by_own:
            cast(LatentStatistics, self.encoder.statistics).forget()
        if self.latent_anchors is not None:
            self.latent_anchors.forget()

    @property
    def standardises_by_own(self) -> bool:
        """True if latents are standardised by statistics of an encoder that is trained."""
        statistics = getattr(self.encoder, "statistics", None)
        return isinstance(self.encoder, LaddEncoder) and isinstance(statistics, LatentStatistics)

    @property
    def standardises_when_fixed(self) -> bool:
        """True if latents are to be standardised by statistics of a trained encoder, which have not been gathered."""
        return self.standardises_by_own and self.needs_latent_statistics

    @property
    def needs_latent_anchors(self) -> bool:
        """True if latents are predicted as anchors, which have not been found yet."""
        return self.latent_anchors is not None and not self.latent_anchors.found

    @property
    def needs_latent_statistics(self) -> bool:
        """True if latents are to be standardised and no statistics have been gathered yet."""
        statistics = getattr(self.encoder, "statistics", None)
        return isinstance(statistics, LatentStatistics) and not statistics.gathered


def _random(first: int, tokens: Tensor) -> RowGenerator:
    """Returns the random numbers of the texts from number `first` on, those of `tokens`."""
    return RowGenerator.from_seed(0, torch.arange(first, first + len(tokens), device=tokens.device))
