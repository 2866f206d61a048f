"""The noise schedule of continuous latents whose times are spread evenly over what noise costs the texts.

A schedule decides how many of a run's steps, and of training's examples, are spent on each level of noise. What matters
of a level is how much it changes of the text that is decoded, so that is measured: the loss of a text's tokens, all of
them masked, given its latents with that much noise. Not the paper's; after DiLaDiff, arXiv 2605.23605, which searches
its schedule to this end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..diffusion.continuous_latents import ContinuousLatents
from ..diffusion.loss_draws import HeldOutTexts
from ..diffusion.noise_schedules import GaussianSchedule
from ..diffusion.rng import RowGenerator
from ..models.eval_mode import evaluation_mode
from ..models.fsdp import gathered_for
from ..utils.number_ranges import COUNT, SEED, NumberRange, whole
from ..utils.wrong_objects import described
from .schedule_tuning import held_out_batches

Curve = NDArray[np.float64]
_MEASURES = ("loss", "accuracy")
_EVEN_SHARE = NumberRange("a share above 0, up to 1", least=0, most=1, without_ends=("least",))
_AT_LEAST_TWO = whole(2, "a whole number of at least 2")
_HALVINGS = 60  # of an interval, after which no double lies inside


@dataclass(frozen=True)
class DecodingCurve:
    """Quality of texts that are decoded in one evaluation, all tokens masked, from latents with noise.

    Attributes:
        angles: `(L + 1,)` levels of noise, from 0 to pi / 2: the signal's share a is the cosine, the noise's the sine.
        losses: `(L + 1,)` cross-entropy, in nats per token.
        recovered: `(L + 1,)` share of tokens that are the likeliest ones.
    """

    angles: Curve
    losses: Curve
    recovered: Curve

    def errors(self, measure: Literal["loss", "accuracy"] = "loss") -> Curve:
        """Returns the error by level, `(L + 1,)`: the loss, or the share of tokens that are not recovered, as the
        nearest curve in mean square that never falls with noise."""
        if measure not in _MEASURES:
            raise ValueError(f"`measure` is {described(measure)}; give 'loss' or 'accuracy'.")
        return _rising(self.losses if measure == "loss" else 1 - self.recovered)

    def schedule(
        self, measure: Literal["loss", "accuracy"] = "loss", num_points: int = 33, even_share: float = 0.05
    ) -> dict[str, Any]:
        """Returns the schedule `table` whose times are spread evenly over the error, a setting for
        `latent_noise_schedule`.

        Args:
            measure: the error, `loss` or `accuracy`.
            num_points: of the table.
            even_share: share of the times that is spread evenly over the angles instead, so that no noise is left out
                of which the error says nothing.

        Raises `ValueError` for arguments out of range, and if noise does not change the error.
        """
        _AT_LEAST_TWO.check("num_points", num_points)
        _EVEN_SHARE.check("even_share", even_share)
        errors = self.errors(measure)
        if not errors[-1] - errors[0] > 1e-6 * errors[-1]:  # beyond rounding
            raise ValueError(
                f"Texts are decoded as well from pure noise as from their latents (a {measure} of {errors[0]:.4g}), so "
                "there is nothing to spread times over: measure a model whose latents are informative."
            )
        rise = (errors - errors[0]) / (errors[-1] - errors[0])
        times = (1 - even_share) * rise + even_share * self.angles / self.angles[-1]
        angles = np.interp(np.linspace(0, 1, num_points), times, self.angles)
        values = [1.0, *(float(one) for one in np.cos(angles[1:-1]) ** 2), 0.0]
        return {"name": "table", "signal_variance": values}


@torch.no_grad()
def decoding_curve(
    model: Any,
    data: Tensor | Iterable[Mapping[str, Any]],
    *,
    num_texts: int = 256,
    levels: int = 32,
    batch_size: int = 64,
    seed: int = 0,
) -> DecodingCurve:
    """Measures how well texts are decoded from their latents at each level of noise.

    The noise of a text is one draw, scaled to every level.

    Args:
        model: with continuous latents, and trained on noisy ones: not by a stage `encoder` alone.
        data: held-out texts: `(N, S)` ids, or examples with `input_ids` (and perhaps `attention_mask`, `labels` and
            `precomputed_latents`), such as a data set's.
        num_texts: number of texts, the first of `data`.
        levels: number of gaps between measured levels, evenly spaced in their angle.
        batch_size: texts at once, on which nothing depends but rounding.
        seed: of the noise.

    If the model's weights are sharded, every process has to call this, with the same texts. Raises `ValueError` for a
    model without continuous latents, for texts that it does not take, for none, and for arguments out of range.
    """
    for name, value in (("num_texts", num_texts), ("batch_size", batch_size)):
        COUNT.check(name, value)
    _AT_LEAST_TWO.check("levels", levels)
    SEED.check("seed", seed)
    channel = model.latent_channel
    if not isinstance(channel, ContinuousLatents):
        kind = getattr(getattr(model, "config", None), "latent_type", "none")
        raise ValueError(
            f"The model has no continuous latents (`latent_type` {kind!r}), whose noise is measured here: give one "
            "that has."
        )
    angles = np.linspace(0, math.pi / 2, levels + 1)
    times = [time_of(channel.schedule, math.cos(angle) ** 2) for angle in angles]
    sums, count, first = np.zeros((2, len(times))), 0, 0
    with evaluation_mode(model), gathered_for(model, "encode", "denoise"):
        for texts in held_out_batches(model, data, num_texts, batch_size):
            encode = texts.encode or model.encode
            clean = encode(texts.tokens, texts.attention_mask, update_codebook=False).clean
            examples = torch.arange(first, first + len(texts), device=texts.tokens.device)
            for number, time in enumerate(times):
                random = RowGenerator.from_seed(seed, examples)  # of the same numbers at each level
                sums[:, number] += _decoded(model, channel, texts, clean, time, random)
            count += int(texts.maskable.sum())
            first += len(texts)
    if not count:
        raise ValueError("There are no texts to decode: give some in `data`.")
    return DecodingCurve(angles, sums[0] / count, sums[1] / count)


def decoding_schedule(
    model: Any,
    data: Tensor | Iterable[Mapping[str, Any]],
    *,
    measure: Literal["loss", "accuracy"] = "loss",
    num_points: int = 33,
    even_share: float = 0.05,
    **options: Any,
) -> dict[str, Any]:
    """Measures a model, and returns the noise schedule whose times are spread evenly over its decoding error: a value
    of `latent_noise_schedule` for the configuration of the next training.

    See [`decoding_curve`], which takes the `options`, and [`DecodingCurve.schedule`].
    """
    return decoding_curve(model, data, **options).schedule(measure, num_points, even_share)


def time_of(schedule: GaussianSchedule, signal_variance: float) -> float:
    """Returns the time at which a(t)^2 is nearest to a value: an end where the schedule does not reach it."""
    early, late = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (early + late) / 2
        if float(schedule.signal_variance(torch.tensor(middle, dtype=torch.float64))) > signal_variance:
            early = middle
        else:
            late = middle
    return round((early + late) / 2, 15)  # the ends are times 0 and 1 exactly


def _decoded(
    model: Any, channel: ContinuousLatents, texts: HeldOutTexts, clean: Tensor, time: float, random: RowGenerator
) -> Curve:
    """Returns the sum of the tokens' losses, and the number of those that are recovered, `(2,)`."""
    times = torch.full((len(texts),), time, dtype=torch.float64, device=clean.device)
    logits = model.denoise(
        torch.where(texts.maskable, model.token_channel.mask_id, texts.tokens),
        channel.add_noise(clean, times, random),
        token_timesteps=torch.ones_like(times),
        latent_timesteps=times,
        attention_mask=texts.attention_mask,
        logits_mask=texts.maskable,
        predict_latents=False,
    ).logits
    own = texts.tokens[texts.maskable]
    loss = model.token_channel.cross_entropy(logits.double(), own).sum()
    return torch.stack([loss, (logits.argmax(-1) == own).sum().to(loss)]).cpu().numpy()


def _rising(values: Curve) -> Curve:
    """Returns the nearest curve in mean square that never falls, by pooling neighbours that do."""
    pools: list[tuple[float, int]] = []  # mean and number
    for value in values:
        mean, number = float(value), 1
        while pools and pools[-1][0] >= mean:
            before, count = pools.pop()
            mean, number = (mean * number + before * count) / (number + count), number + count
        pools.append((mean, number))
    return np.repeat([mean for mean, _ in pools], [number for _, number in pools])
