"""Measurement of a denoiser's losses over the time square, the entries of a [`LossTable`]."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .channels import MaskedChannel
from .denoiser import Denoiser, Encode
from .loss_table import LossTable
from .masked import add_mask_noise, uniform_with_a_mask
from .rng import RowGenerator
from .time_axes import Numbers, TimeAxis


@dataclass
class HeldOutTexts:
    """A batch of texts to measure on.

    Attributes:
        tokens: `(B, S)` clean ids.
        maskable: `(B, S)` bool, tokens to noise and score, at least one per text.
        attention_mask: `(B, S)`, or `None` without padding.
        encode: replaces the denoiser's own encoder, for instance by precomputed latents.
    """

    tokens: Tensor
    maskable: Tensor
    attention_mask: Tensor | None = None
    encode: Encode | None = None


@torch.no_grad()
def measure_losses(
    denoiser: Denoiser,
    batches: Iterable[HeldOutTexts],
    cells: int = 12,
    num_draws: int = 1,
    rows_at_once: int = 512,
    seed: int = 0,
    latents_first: bool = False,
) -> LossTable:
    """Measures a denoiser's mean losses at the points of a grid of the two times.

    Each loss has evaluations of its own, in which at least one token (or code) is masked, and the probability of that
    as a factor: so a point near the clean end is measured as well as any other. All points see the same noise of a
    text, so that differences between them err less than they do; it depends on `seed` and on the text alone.

    Args:
        denoiser: the model.
        batches: held-out texts, each of which counts once.
        cells: gaps between measured times on each side; losses are measured at about (cells + 1)^2 points.
        num_draws: draws of noise per text and loss.
        rows_at_once: rows of an evaluation, into which several points of a small batch are put.
        seed: of the noise.
        latents_first: measure only points of runs that write the latents before the tokens, with the denoiser of
            latents alone (`input_ids=None`) at the noisy ones.

    Raises `ValueError` for fewer than two texts, which have no standard error, for a text without a token to score, and
    for losses that are not finite.
    """
    channel = denoiser.latent_channel
    latent_axis = TimeAxis.clean() if channel is None else TimeAxis.of(channel, cells)
    axes = TimeAxis.of(denoiser.token_channel, cells), latent_axis
    latents_first = latents_first and channel is not None
    points = _points(*axes, latents_first)
    of_texts, num_tokens = [], []
    for texts in batches:
        counts = texts.maskable.sum(1)
        if not bool((counts > 0).all()):
            raise ValueError("A text has no token to score: leave out texts that are padding or labelled -100 only.")
        losses = np.zeros((len(counts), 2, *(len(axis.measured) for axis in axes)))
        measuring = _Measuring(denoiser, texts, RowGenerator.from_content(seed, texts.tokens, texts.maskable), latents_first)
        for _ in range(num_draws):
            measuring.draw()
            for group in _groups(points, max(1, rows_at_once // len(counts))):
                for point, found in zip(group, measuring.losses(group), strict=True):
                    losses[:, int(point.of_latents), point.row, point.column] += found / num_draws
        of_texts.append(losses)
        num_tokens.append(counts.cpu().numpy())
    count = sum(len(one) for one in of_texts)
    if count < 2:
        raise ValueError(f"The losses of {count} texts have no standard error: give at least 2, better some hundred.")
    each = np.concatenate(of_texts)  # (texts, 2, g_x, g_y)
    errors = each.std(0, ddof=1) / np.sqrt(count)
    return LossTable(*axes, *each.mean(0), *errors, float(np.concatenate(num_tokens).mean()), count, latents_first)


class _Point(NamedTuple):
    """A loss to measure: that of the tokens or of the latents, at a point of the grid."""

    of_latents: bool
    row: int
    column: int
    t_x: float
    t_y: float


def _points(token_axis: TimeAxis, latent_axis: TimeAxis, latents_first: bool) -> list[_Point]:
    """Returns the losses that runs can meet, those of the tokens first."""
    rows, columns = (range(len(axis.measured)) for axis in (token_axis, latent_axis))
    token_times, latent_times = token_axis.measured_times, latent_axis.measured_times
    of_tokens = [
        _Point(False, row, column, float(token_axis.limits[row]), float(latent_times[column]))
        for row in rows
        for column in (columns[-1:] if latents_first else columns)
    ]
    of_latents = [
        _Point(True, row, column, float(token_times[row]), float(latent_axis.limits[column]))
        for row in (rows[:1] if latents_first else rows)
        for column in (columns if len(columns) > 1 else ())
    ]
    return of_tokens + of_latents


def _groups(points: Sequence[_Point], size: int) -> Iterator[Sequence[_Point]]:
    """Yields losses of one kind, at most `size` of them at once."""
    for of_latents in (False, True):
        same = [point for point in points if point.of_latents == of_latents]
        yield from (same[start : start + size] for start in range(0, len(same), size))


class _Measuring:
    """Losses of a batch of texts, a draw of noise after the other."""

    def __init__(self, denoiser: Denoiser, texts: HeldOutTexts, random: RowGenerator, latents_first: bool) -> None:
        self._denoiser, self._texts, self._random, self._alone = denoiser, texts, random, latents_first
        self._channel = denoiser.latent_channel
        self._clean: Tensor | None = None
        if self._channel is not None:
            encode = texts.encode or denoiser.encode
            self._clean = encode(texts.tokens, texts.attention_mask, None).clean
        self.draw()

    def draw(self) -> None:
        """Draws noise that all points see from now on."""
        self._keys = [self._random.branch().keys for _ in range(2)]

    def losses(self, points: Sequence[_Point]) -> Numbers:
        """Returns the losses of one kind at points, `(points, B)`."""
        texts, count, of_latents = self._texts, len(points), points[0].of_latents
        rows, device = len(texts.tokens), texts.tokens.device
        t_x, t_y = (
            torch.tensor([getattr(point, name) for point in points], dtype=torch.float64, device=device)
            for name in ("t_x", "t_y")
        )
        t_x, t_y = t_x.repeat_interleave(rows), t_y.repeat_interleave(rows)
        random = [RowGenerator(keys.repeat(count)) for keys in self._keys]
        tokens, maskable = _repeated(texts.tokens, count), _repeated(texts.maskable, count)
        masking, channel = self._denoiser.token_channel, self._channel
        noised, scale = _masked(masking, tokens, t_x, random[0], maskable, at_least_one=not of_latents)
        call: dict[str, Any] = {"latents": None, "token_timesteps": t_x}
        if channel is not None:
            clean = _repeated(self._clean, count)
            if isinstance(channel, MaskedChannel):
                everywhere = torch.ones_like(clean, dtype=torch.bool)
                latents, of_codes = _masked(channel, clean, t_y, random[1], everywhere, at_least_one=of_latents)
                scale = of_codes if of_latents else scale
            else:
                latents = channel.add_noise(clean, t_y, random[1])
                scale = torch.ones_like(t_y) if of_latents else scale
            call |= {"latents": latents, "latent_timesteps": t_y}
        if of_latents and self._alone:
            output = self._denoiser.denoise(None, **call)
        else:
            scored = (noised == masking.mask_id) & maskable & (not of_latents)
            call |= {"attention_mask": _repeated(texts.attention_mask, count), "logits_mask": scored}
            output = self._denoiser.denoise(noised, **call, **({"predict_latents": False} if self._alone else {}))
        if of_latents:
            clean_end = torch.zeros_like(t_y)
            nats = channel.step_bound(output.latent_prediction, clean, latents, t_y, clean_end)
            nats = nats / (channel.progress(clean_end) - channel.progress(t_y))
        else:
            each = torch.zeros(tokens.shape, dtype=torch.float64, device=device)
            each[scored] = masking.cross_entropy(output.logits.double(), tokens[scored])
            nats = each.sum(1) / (1 - masking.progress(t_x))
        found: Numbers = (scale * nats).view(count, rows).cpu().numpy()
        return found


def _masked(
    channel: MaskedChannel, ids: Tensor, t: Tensor, random: RowGenerator, maskable: Tensor, at_least_one: bool
) -> tuple[Tensor, Tensor]:
    """Returns `(B, length)` ids noised to times `(B,)`, and the probability of the condition that they fulfil."""
    alpha, uniform, probability = channel.progress(t), random.uniform(ids.shape[1]), torch.ones_like(t)
    if at_least_one:
        uniform, probability = uniform_with_a_mask(uniform, alpha, maskable)
    noised = add_mask_noise(ids, alpha, uniform, channel.mask_id)
    return torch.where(maskable, noised, ids), probability


def _repeated(rows: Tensor | None, count: int) -> Any:
    """Returns all rows `count` times, one copy after the other; `None` stays."""
    return rows if rows is None else rows.repeat(count, *(1 for _ in rows.shape[1:]))
