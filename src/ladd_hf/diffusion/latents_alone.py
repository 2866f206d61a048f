"""Evaluations of latents without tokens: the one place that decides which there are.

Sampling, training, both bounds and the loss table evaluate a denoiser through [`LatentsAlone`], so that all of them are
about the same model. A prediction depends on the state alone, not on the run that leads to it: latents that are noisy
at t_x = 1, with no token visible, are predicted without tokens wherever they are met, also in a joint run, whose first
step then takes a second evaluation, for its tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from .denoiser import Denoiser

When = Literal["never", "masked", "always"]


@dataclass(frozen=True)
class LatentsAlone:
    """When a denoiser predicts latents without tokens, and how it is then evaluated.

    Attributes:
        when: `never`; `masked`, by the network of both, in rows at t_x = 1 without a visible token; or `always`, by a
            network of their own.
        mask_id: id of the tokens' mask.
    """

    when: When
    mask_id: int

    @classmethod
    def of(cls, denoiser: Denoiser) -> LatentsAlone:
        """Returns those of a denoiser, which says when in `latents_alone`; one that says nothing never does."""
        return cls(getattr(denoiser, "latents_alone", "never"), denoiser.token_channel.mask_id)

    def rows(
        self,
        tokens: Tensor,
        attention_mask: Tensor | None,
        token_times: Tensor,
        latent_times: Tensor,
        latents_move: Tensor | bool = True,
    ) -> Tensor:
        """Returns the rows of a network of both whose latents are predicted without tokens, `(B,)` bool.

        Args:
            tokens: `(B, S)`, the mask where noised.
            attention_mask: `(B, S)`, or `None` without padding, which is no visible token.
            token_times, latent_times: `(B,)`, or `(1,)` for all rows.
            latents_move: rows whose prediction is used.
        """
        visible = tokens != self.mask_id
        if attention_mask is not None:
            visible = visible & attention_mask.bool()
        return (token_times == 1) & (latent_times > 0) & latents_move & ~visible.any(1)

    def evaluate(
        self,
        denoise: Callable[..., Any],
        tokens: Tensor,
        latents: Tensor | None,
        latents_move: Tensor | bool = True,
        in_step: bool = False,
        **options: Any,
    ) -> Any:
        """Evaluates a denoiser on a batch: rows with tokens in one call, those of latents alone in another.

        A row is evaluated with its tokens unless its latents are predicted without them and `logits_mask` asks for
        none of its logits.

        Args:
            denoise: the denoiser's call; `denoise(None, latents, ...)` is of latents alone.
            tokens, latents: `(B, S)`, and `(B, M)` or `(B, M, D)`, or `None`.
            latents_move: False if the prediction of the latents is not used, or the rows in which it is, `(B,)`.
            in_step: make both calls, whatever the rows, as processes that share weights or gradients have to, and
                compiled graphs. `logits_mask` must then be given.
            options: of the call, among them the times, `attention_mask` and `logits_mask`; those of `(B, ...)` are
                divided.

        Returns the denoiser's output: `logits` in row-major order of `logits_mask`, `None` if no row was evaluated
        with its tokens, and `latent_prediction` of all rows.
        """
        if self.when == "always" and latents is not None:
            return self._by_two_networks(denoise, tokens, latents, latents_move, options)
        if self.when == "never" or latents is None or latents_move is False:
            return denoise(tokens, latents, **options)
        times = options["token_timesteps"], options["latent_timesteps"]
        alone = self.rows(tokens, options.get("attention_mask"), *times, latents_move)
        logits_mask = options.get("logits_mask")
        together = torch.ones_like(alone) if logits_mask is None else ~alone | logits_mask.any(1)
        places = alone.nonzero().squeeze(1), together.nonzero().squeeze(1)
        if not in_step and not len(places[0]):
            return denoise(tokens, latents, **options)
        without = {name: value for name, value in options.items() if name != "logits_mask"}
        if without.get("attention_mask") is None:
            without["attention_mask"] = torch.ones_like(tokens)  # which says how long texts are
        output = of_alone = None
        if in_step or len(places[0]):
            of_alone = _of_rows(denoise, None, latents, places[0], without, in_step)
        if in_step or len(places[1]):
            output = _of_rows(denoise, tokens, latents, places[1], options, in_step)
        return _joined(of_alone, output, *places, len(tokens))

    @staticmethod
    def _by_two_networks(
        denoise: Callable[..., Any], tokens: Tensor, latents: Tensor, latents_move: Any, options: dict[str, Any]
    ) -> Any:
        """Evaluates the one network that is needed, if it is known to be one; else both."""
        if latents_move is False:
            return denoise(tokens, latents, predict_latents=False, **options)
        logits_mask = options.get("logits_mask")
        if latents_move is True and logits_mask is not None and not logits_mask.any():
            of_latents = ("token_timesteps", "latent_timesteps", "latent_target_timesteps", "latent_estimate")
            return denoise(None, latents, **{name: options[name] for name in of_latents if name in options})
        return denoise(tokens, latents, **options)


def together_with_others() -> bool:
    """True if other processes may have to make the same calls: those that hold shards of the weights."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _of_rows(
    denoise: Callable[..., Any],
    tokens: Tensor | None,
    latents: Tensor,
    rows: Tensor,
    options: dict[str, Any],
    spare: bool,
) -> Any:
    """Evaluates some rows of a batch.

    `spare` adds its first row once more, of which nothing is asked: kernels take no empty batches, and the number of
    rows is not known in a compiled graph.
    """
    chosen = torch.cat([rows, rows.new_zeros(1)]) if spare else rows
    given = {
        name: value[chosen] if isinstance(value, Tensor) and value.ndim and len(value) == len(latents) else value
        for name, value in options.items()
    }
    if spare and "logits_mask" in given:
        asked = torch.arange(len(chosen), device=chosen.device) < len(rows)
        given["logits_mask"] = given["logits_mask"] & asked[:, None]
    output = denoise(None if tokens is None else tokens[chosen], latents[chosen], **given)
    if spare:
        output.latent_prediction = output.latent_prediction[: len(rows)]
    return output


def _joined(of_alone: Any, output: Any, alone: Tensor, together: Tensor, count: int) -> Any:
    """Returns the output of all `count` rows; where a row was evaluated twice, its latents are those without tokens."""
    if output is None:
        return of_alone
    if of_alone is None:
        return output
    found, others = of_alone.latent_prediction, output.latent_prediction
    prediction = others.new_zeros(count, *others.shape[1:])
    output.latent_prediction = prediction.index_copy(0, together, others).index_copy(0, alone, found)
    return output
