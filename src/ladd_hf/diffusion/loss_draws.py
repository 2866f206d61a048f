"""Draws of noise for the losses of a grid of the time square: which of them, and what a denoiser loses in them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .channels import LatentChannel, MaskedChannel
from .denoiser import Denoiser, Encode
from .masked import add_mask_noise, uniform_with_a_mask
from .rng import RowGenerator
from .time_axes import Numbers, TimeAxis

_FEW = 4  # masked places, below which there are more draws


@dataclass
class HeldOutTexts:
    """A batch of texts to measure on.

    Attributes:
        tokens: `(B, S)` clean ids.
        maskable: `(B, S)` bool, tokens to noise and score, at least one per text.
        attention_mask: `(B, S)`, or `None` without padding.
        encode: replaces the denoiser's own encoder, for instance by precomputed latents.

    Raises `ValueError` for a text without a token to score.
    """

    tokens: Tensor
    maskable: Tensor
    attention_mask: Tensor | None = None
    encode: Encode | None = None

    def __post_init__(self) -> None:
        if not bool(self.maskable.any(1).all()):
            raise ValueError("A text has no token to score: leave out texts that are padding or labelled -100 only.")

    def __len__(self) -> int:
        return len(self.tokens)


class LossDraw(NamedTuple):
    """One draw of noise for the loss of the tokens, or of the latents, at a point of the grid.

    Attributes:
        of_latents: the loss of the latents, not of the tokens.
        row, column: the point's place.
        t_x, t_y: its times.
        number, total: which draw it is, out of how many.
    """

    of_latents: bool
    row: int
    column: int
    t_x: float
    t_y: float
    number: int = 0
    total: int = 1


def losses_of_runs(token_axis: TimeAxis, latent_axis: TimeAxis, latents_first: bool) -> list[LossDraw]:
    """Returns the losses that runs can meet, those of the tokens first."""
    rows, columns = (range(len(axis.measured)) for axis in (token_axis, latent_axis))
    token_times, latent_times = token_axis.measured_times, latent_axis.measured_times
    of_tokens = [
        LossDraw(False, row, column, float(token_axis.limits[row]), float(latent_times[column]))
        for row in rows
        for column in (columns[-1:] if latents_first else columns)
    ]
    of_latents = [
        LossDraw(True, row, column, float(token_times[row]), float(latent_axis.limits[column]))
        for row in (rows[:1] if latents_first else rows)
        for column in (columns if len(columns) > 1 else ())
    ]
    return of_tokens + of_latents


def repeated_draws(loss: LossDraw, axis: TimeAxis, length: float, least: int) -> list[LossDraw]:
    """Returns `least` draws of a loss, or more if fewer than 4 places of `length`, or a quarter of them, are masked."""
    count = least
    if not axis.gaussian:
        visible = float(axis.progress[axis.measured[loss.column if loss.of_latents else loss.row]])
        masked = length * (1 - visible) / (1 - visible**length) if visible < 1 else 1.0  # given that one is
        count *= max(1, math.ceil(min(_FEW, length / 4) / masked))
    return [loss._replace(number=number, total=count) for number in range(count)]


class TextLosses:
    """The losses of a batch of texts, in all of which a text has the same noise."""

    def __init__(self, denoiser: Denoiser, texts: HeldOutTexts, seed: int, latents_alone: bool) -> None:
        self._denoiser, self._texts, self._latents_alone = denoiser, texts, latents_alone
        self._channel: Any = denoiser.latent_channel
        self._clean: Any = None
        if self._channel is not None:
            encode = texts.encode or denoiser.encode
            self._clean = encode(texts.tokens, texts.attention_mask, None).clean
        random = RowGenerator.from_content(seed, texts.tokens, texts.attention_mask)
        self._token_keys, self._latent_keys = random.branch().keys, random.branch().keys

    @property
    def num_codes(self) -> int:
        """M, 0 without latents."""
        return 0 if self._clean is None else int(self._clean.shape[1])

    def means(self, draws: Sequence[LossDraw], shape: tuple[int, int], rows_at_once: int) -> Numbers:
        """Returns the mean losses of each text over the draws, `(B, 2, *shape)`: of the tokens, of the latents."""
        means, together = np.zeros((len(self._texts), 2, *shape)), max(1, rows_at_once // len(self._texts))
        for of_latents in (False, True):
            chosen = [draw for draw in draws if draw.of_latents == of_latents]
            for start in range(0, len(chosen), together):
                group = chosen[start : start + together]
                found = self._of_latents(group) if of_latents else self._of_tokens(group)
                for draw, losses in zip(group, found.view(len(group), -1).cpu().numpy(), strict=True):
                    means[:, int(of_latents), draw.row, draw.column] += losses / draw.total
        return means

    def _of_tokens(self, draws: Sequence[LossDraw]) -> Tensor:
        """Returns the losses of the tokens in one evaluation, `(draws * B,)`."""
        masking, texts = self._denoiser.token_channel, self._texts
        tokens, maskable = _repeated(texts.tokens, len(draws)), _repeated(texts.maskable, len(draws))
        noised, probability, t_x = self._noisy_tokens(draws, at_least_one=True)
        latents, _, t_y = self._noisy_latents(draws, at_least_one=False)
        scored = maskable & (noised == masking.mask_id)
        output = self._denoise(draws, noised, latents, t_x, t_y, scored, predict_latents=False)
        nats = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
        nats[scored] = masking.cross_entropy(output.logits.double(), tokens[scored])
        return probability * nats.sum(1) / (1 - masking.progress(t_x))

    def _of_latents(self, draws: Sequence[LossDraw]) -> Tensor:
        """Returns the losses of the latents in one evaluation, `(draws * B,)`."""
        latents, probability, t_y = self._noisy_latents(draws, at_least_one=True)
        noised, _, t_x = self._noisy_tokens(draws, at_least_one=False)
        if self._latents_alone:
            output = self._denoiser.denoise(None, latents, token_timesteps=t_x, latent_timesteps=t_y)
        else:
            output = self._denoise(draws, noised, latents, t_x, t_y, torch.zeros_like(noised, dtype=torch.bool))
        clean = _repeated(self._clean, len(draws))
        return probability * self._channel.rate(output.latent_prediction, clean, latents, t_y)

    def _denoise(
        self,
        draws: Sequence[LossDraw],
        tokens: Tensor,
        latents: Tensor | None,
        t_x: Tensor,
        t_y: Tensor | None,
        logits_mask: Tensor,
        predict_latents: bool = True,
    ) -> Any:
        mask = _repeated(self._texts.attention_mask, len(draws))
        times = {"token_timesteps": t_x, "latent_timesteps": t_y}
        options = {"predict_latents": predict_latents} if self._latents_alone else {}
        return self._denoiser.denoise(tokens, latents, **times, attention_mask=mask, logits_mask=logits_mask, **options)

    def _noisy_tokens(self, draws: Sequence[LossDraw], at_least_one: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Returns noisy tokens, the probability of the condition that they fulfil, and their times."""
        times = self._spread([draw.t_x for draw in draws])
        maskable = _repeated(self._texts.maskable, len(draws))
        channel, tokens = self._denoiser.token_channel, _repeated(self._texts.tokens, len(draws))
        return *self._masked(channel, tokens, maskable, times, self._token_keys, draws, at_least_one), times

    def _noisy_latents(self, draws: Sequence[LossDraw], at_least_one: bool) -> tuple[Any, Tensor, Any]:
        """Returns the same of the latents; `None` without latents."""
        times, channel = self._spread([draw.t_y for draw in draws]), self._channel
        if channel is None:
            return None, torch.ones_like(times), None
        clean = _repeated(self._clean, len(draws))
        if isinstance(channel, MaskedChannel):
            everywhere = torch.ones_like(clean, dtype=torch.bool)
            return *self._masked(channel, clean, everywhere, times, self._latent_keys, draws, at_least_one), times
        return self._gaussian(channel, clean, times, draws), torch.ones_like(times), times

    def _gaussian(self, channel: LatentChannel, clean: Tensor, times: Tensor, draws: Sequence[LossDraw]) -> Tensor:
        """Returns noisy latents, with streams of their own for each number of a draw."""
        numbers = torch.arange(max(draw.number for draw in draws) + 1)
        streams = [RowGenerator.from_seed(int(key), numbers).keys for key in self._latent_keys.tolist()]
        keys = torch.stack(streams)[:, [draw.number for draw in draws]]  # (B, draws)
        return channel.add_noise(clean, times, RowGenerator(keys.T.flatten().to(clean.device)))

    def _masked(
        self,
        channel: MaskedChannel,
        ids: Tensor,
        maskable: Tensor,
        times: Tensor,
        keys: Tensor,
        draws: Sequence[LossDraw],
        at_least_one: bool,
    ) -> tuple[Tensor, Tensor]:
        """Returns masked ids, and the probability of the condition that they fulfil.

        The uniform numbers of a loss's draws are shifted against one another, so that they mask different places.
        """
        uniform = RowGenerator(keys.repeat(len(draws))).uniform(ids.shape[1])
        uniform = (uniform + self._spread([draw.number / draw.total for draw in draws])[:, None]) % 1
        alpha, probability = channel.progress(times), torch.ones_like(times)
        if at_least_one:
            uniform, probability = uniform_with_a_mask(uniform, alpha, maskable)
        return torch.where(maskable, add_mask_noise(ids, alpha, uniform, channel.mask_id), ids), probability

    def _spread(self, values: Sequence[float]) -> Tensor:
        """Returns one value per draw for all of its rows, `(draws * B,)` float64."""
        values_of = torch.tensor(values, dtype=torch.float64, device=self._texts.tokens.device)
        return values_of.repeat_interleave(len(self._texts))


def _repeated(rows: Tensor | None, count: int) -> Any:
    """Returns all rows `count` times, one copy after the other; `None` stays."""
    return rows if rows is None else rows.repeat(count, *(1 for _ in rows.shape[1:]))
