"""Draws of noise for the losses of a grid of the time square: which of them, and what a denoiser loses in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .channels import LatentChannel
from .denoiser import Denoiser, Encode
from .latents_alone import LatentsAlone
from .masked import add_mask_noise, uniform_with_a_mask
from .masked_channels import MaskedChannel
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
    """The losses of a batch of texts, in all of which a text has the same noise.

    Of continuous latents that is one walk of the forward process, on which all their times lie.
    """

    def __init__(self, denoiser: Denoiser, texts: HeldOutTexts, seed: int, latent_axis: TimeAxis) -> None:
        self._denoiser, self._texts, self._alone = denoiser, texts, LatentsAlone.of(denoiser)
        self._latent_times = [*latent_axis.limits.tolist(), 0.0]
        self._walks: dict[int, list[Tensor]] = {}  # by the number of the draw
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

    def means(
        self, draws: Sequence[LossDraw], shape: tuple[int, int], rows_at_once: int, count: Callable[[int], None]
    ) -> tuple[Numbers, Numbers]:
        """Returns the mean losses of each text over the draws: of the tokens `(B, *shape)`, and of the latents.
        `count` is called with the number of draws of each evaluation.

        Those of the latents are `(B, *shape)` per unit of their progress, or `(B, *shape, g_y)` nats of the steps to
        each later time of the axis, if the channel has no rate.
        """
        together = max(1, rows_at_once // len(self._texts))
        ends = () if self._channel is None or self._channel.has_rate else shape[1:]
        means = np.zeros((len(self._texts), *shape)), np.zeros((len(self._texts), *shape, *ends))
        for of_latents in (False, True):
            chosen = [draw for draw in draws if draw.of_latents == of_latents]
            for start in range(0, len(chosen), together):
                group = chosen[start : start + together]
                found = self._of_latents(group) if of_latents else self._of_tokens(group)
                of_draws = found.view(len(group), len(self._texts), *found.shape[1:]).cpu().numpy()
                for draw, losses in zip(group, of_draws, strict=True):
                    means[int(of_latents)][:, draw.row, draw.column] += losses / draw.total
                count(len(group))
        return means

    def _of_tokens(self, draws: Sequence[LossDraw]) -> Tensor:
        """Returns the losses of the tokens in one evaluation, `(draws * B,)`."""
        masking, texts = self._denoiser.token_channel, self._texts
        tokens, maskable = _repeated(texts.tokens, len(draws)), _repeated(texts.maskable, len(draws))
        noised, probability, t_x = self._noisy_tokens(draws, at_least_one=True)
        latents, _, t_y = self._noisy_latents(draws, at_least_one=False)
        scored = maskable & (noised == masking.mask_id)
        output = self._denoise(draws, noised, latents, t_x, t_y, scored, latents_move=False)
        nats = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
        nats[scored] = masking.cross_entropy(output.logits.double(), tokens[scored])
        return probability * nats.sum(1) / (1 - masking.progress(t_x))

    def _of_latents(self, draws: Sequence[LossDraw]) -> Tensor:
        """Returns the losses of the latents in one evaluation, `(draws * B,)` or `(draws * B, g_y)`."""
        latents, probability, t_y = self._noisy_latents(draws, at_least_one=True)
        noised, _, t_x = self._noisy_tokens(draws, at_least_one=False)
        output = self._denoise(draws, noised, latents, t_x, t_y, torch.zeros_like(noised, dtype=torch.bool))
        channel = self._channel.of_output(output)
        if not channel.has_rate:
            return self._steps(channel, draws, output.latent_prediction)
        clean = _repeated(self._clean, len(draws))
        return probability * channel.rate(output.latent_prediction, clean, latents, t_y)

    def _steps(self, channel: LatentChannel, draws: Sequence[LossDraw], predictions: Tensor) -> Tensor:
        """Returns the nats of the steps from each draw's time to the later ones of its walk, `(draws * B, g_y)`.

        With exact predictions of a single latent, steps of one walk cost together exactly what one step over them does:
        no difference between runs is by chance.
        """
        nats = torch.zeros(len(draws), len(self._texts), len(self._latent_times) - 1, dtype=torch.float64)
        for number, (draw, prediction) in enumerate(zip(draws, predictions.chunk(len(draws)), strict=True)):
            walk = self._walk(draw.number)
            for end in range(draw.column + 1, nats.shape[-1]):
                last = end == nats.shape[-1] - 1
                following, s = (self._clean, 0.0) if last else (walk[end], self._latent_times[end])
                at = prediction, self._clean, walk[draw.column], following, draw.t_y, s
                nats[number, :, end] = -channel.step_log_ratio(*at).cpu()
        return nats.flatten(0, 1)

    def _denoise(
        self,
        draws: Sequence[LossDraw],
        tokens: Tensor,
        latents: Tensor | None,
        t_x: Tensor,
        t_y: Tensor | None,
        logits_mask: Tensor,
        latents_move: bool = True,
    ) -> Any:
        return self._alone.evaluate(
            self._denoiser.denoise,
            tokens,
            latents,
            latents_move,
            token_timesteps=t_x,
            latent_timesteps=t_y,
            attention_mask=_repeated(self._texts.attention_mask, len(draws)),
            logits_mask=logits_mask,
        )

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
        if isinstance(channel, MaskedChannel):
            clean = _repeated(self._clean, len(draws))
            everywhere = torch.ones_like(clean, dtype=torch.bool)
            return *self._masked(channel, clean, everywhere, times, self._latent_keys, draws, at_least_one), times
        places = [self._latent_times.index(draw.t_y) for draw in draws]
        noisy = [self._walk(draw.number)[place] for draw, place in zip(draws, places, strict=True)]
        return torch.cat(noisy), torch.ones_like(times), times

    def _walk(self, number: int) -> list[Tensor]:
        """Returns continuous latents at all times of the axis, `(B, M, D)` each, with streams of its own."""
        if number not in self._walks:
            keys = [RowGenerator.from_seed(int(key), torch.tensor([number])).keys for key in self._latent_keys.tolist()]
            random = RowGenerator(torch.cat(keys).to(self._clean.device))
            self._walks[number] = self._channel.trajectory(self._clean, self._latent_times, random)
        return self._walks[number]

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
