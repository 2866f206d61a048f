"""The bound of a model on the likelihood of texts, with its arguments checked. Paper, section 7."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast, overload

import torch
from torch import Tensor

from ..diffusion.channels import EncodedLatents, LatentChannel
from ..diffusion.denoiser import Denoiser
from ..diffusion.marginal_bound import MarginalNelbo, check_proposals, marginal_nelbo
from ..diffusion.nelbo import Nelbo, nelbo
from ..diffusion.paths import PathSpec
from ..diffusion.rng import Generators, RowGenerator
from ..diffusion.runs import RunSpec
from ..diffusion.step_counts import IGNORED_LABEL, maskable_tokens
from ..diffusion.token_waiting import Waiting
from ..utils.registry import Spec
from .call_checks import check_kind, check_labels, check_longest
from .chunks import latents_of_tokens, parsed_unpooling, unpooling_spec
from .eval_mode import evaluation_mode
from .latent_anchors import LatentAnchors
from .quantizers.quantizer import Quantizer
from .vocabulary import Vocabulary


class BoundedTexts:
    """Part of a model with `denoise` and `encode` that bounds the likelihood of texts."""

    if TYPE_CHECKING:
        config: Any
        device: torch.device
        quantizer: Quantizer | None
        latent_anchors: LatentAnchors | None
        encode: Callable[..., EncodedLatents]

        @property
        def latent_channel(self) -> LatentChannel | None: ...

    @overload
    def nelbo(self, input_ids: Tensor, *args: Any, num_proposals: None = None, **options: Any) -> Nelbo: ...

    @overload
    def nelbo(self, input_ids: Tensor, *args: Any, num_proposals: int, **kwargs: Any) -> MarginalNelbo: ...

    @torch.no_grad()  # type: ignore[misc]  # the overloads name only the argument that decides
    def nelbo(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        path: PathSpec | None = None,
        num_samples: int = 8,
        generator: Generators = None,
        labels: Tensor | None = None,
        precomputed_latents: Tensor | None = None,
        run: RunSpec | None = None,
        num_proposals: int | None = None,
        proposal_width: float | None = None,
        token_waiting: Spec = "none",
    ) -> Nelbo | MarginalNelbo:
        """Estimates the bound on the negative log-likelihood of `(B, S)` tokens along a time path. Paper, section 7.

        Args:
            input_ids: `(B, S)` clean tokens.
            attention_mask: `(B, S)`; padding is not scored.
            path: `joint` (the default), `sequential`, corners `[[1, 1], [1, 0.3], [0, 0]]`, or a `TimePath`.
            num_samples: points of the path per example, each one evaluation.
            generator: one generator, a list with one per row, or `None` for the global one.
            labels: `(B, S)`, -100 where a token is context that is neither noised nor scored.
            precomputed_latents: see `encode`.
            run: for the bound of what a run of N steps writes: N, divided evenly among the legs of `path`, or its
                points, such as `time_path("joint").grid([8])`, instead of a path.
            num_proposals: averages the latents out: K draws of latents around the encoder's output, and of the order in
                which places are revealed, each N evaluations of a run, which must be given; see `marginal_bound.py`.
            proposal_width: spread of the proposals; see [`marginal_nelbo`].
            token_waiting: of runs whose tokens wait for their latents, as a scheduler's option is; needs
                `num_proposals`.

        Returns:
            [`Nelbo`]: separate token and latent parts, in nats, with standard errors; with `num_proposals`
            [`MarginalNelbo`], which has no parts.

        Raises `ValueError` for tokens that are not a batch of whole texts, for an invalid path or run, and for
        `num_proposals` without a run, and for `token_waiting` without `num_proposals`, or for latents without
        probabilities.
        """
        check_kind("input_ids", input_ids, "ids")
        if input_ids.ndim != 2:
            raise ValueError(f"`input_ids` have shape {tuple(input_ids.shape)}; give (batch, length).")
        labels = input_ids if labels is None else labels
        check_labels(labels, input_ids)
        tokens, maskable = clean_tokens(self.config, input_ids, labels, attention_mask)
        Vocabulary.of(self.config).check_text(tokens, maskable, "`input_ids`")
        check_longest(self.config, tokens, attention_mask)
        random = RowGenerator.from_generator(generator, len(input_ids), input_ids.device)
        encode = partial(self.encode, precomputed_latents=precomputed_latents)
        text = cast(Denoiser, self), tokens, maskable, attention_mask
        unpooling, shared = parsed_unpooling(unpooling_spec(self.config))
        own = latents_of_tokens(unpooling, self.config.latent_length, tokens, attention_mask, shared)
        waiting = Waiting.of(token_waiting, own, shared)
        waiting = None if self.latent_channel is None else waiting  # nothing to wait for
        check_proposals(run, num_proposals, proposal_width, waiting)
        with evaluation_mode(self):
            if run is None or num_proposals is None:
                return nelbo(*text, path, num_samples, random, encode, run)
            codebook = None if self.quantizer is None else self._codebook(self.quantizer)
            codebook = codebook if self.latent_anchors is None else self.latent_anchors.points
            latents = encode, codebook
            return marginal_nelbo(*text, run, num_proposals, path, proposal_width, random, *latents, waiting=waiting)

    def _codebook(self, quantizer: Quantizer) -> Tensor:
        """Returns the vectors of all codes, `(K, D)`."""
        return quantizer.codes_to_vectors(torch.arange(self.config.codebook_size, device=self.device)[None])[0]


def clean_tokens(
    config: Any, input_ids: Tensor | None, labels: Tensor, attention_mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Returns clean tokens and a mask of those that may be noised, both `(B, S)`."""
    maskable = maskable_tokens(labels, attention_mask)
    if input_ids is None:
        filler = config.pad_token_id or 0
        return torch.where(labels == IGNORED_LABEL, filler, labels), maskable
    return torch.where(labels == IGNORED_LABEL, input_ids, labels), maskable
