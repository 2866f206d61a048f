"""Usefulness of latents: the token loss with a text's own latents, with another text's, and with none.

`evaluate.load("<this file>", module_type="measurement")` reads the imports line by line: no import spans two lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import evaluate
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ladd_hf.diffusion.rng import RowGenerator
from ladd_hf.metrics.bootstrap import Estimate, bootstrap_ratio
from ladd_hf.metrics.clean_batches import Batch, CleanBatch, encoded_batches
from ladd_hf.metrics.measurement_info import IDS, measurement_info
from ladd_hf.models.eval_mode import evaluation_mode
from ladd_hf.models.fsdp import gathered_for
from ladd_hf.utils.number_ranges import COUNT, SEED, NumberRange
from ladd_hf.utils.padding import padded_texts
from ladd_hf.utils.wrong_objects import described

TOKEN_TIMES = (0.25, 0.5, 0.75, 1.0)
_TOKEN_TIME = NumberRange("times above 0, up to 1", least=0, most=1, without_ends=("least",))
_KINDS = ("true", "shuffled", "none")

_DESCRIPTION = """\
The cross-entropy of the masked tokens of real texts under a diffusion language model, given the texts' own latents, \
those of other texts, and none.
"""

_INPUTS_DESCRIPTION = """\
Args:
    data: texts that the model was not trained on, as sequences of its ids; two or more.

Returns, for each token time t, in nats per masked token:
    latents_true_<t>, latents_shuffled_<t>, latents_none_<t>: given a text's own latents, another text's, and none.
    latents_gain_<t>, latents_own_gain_<t>: none - true, and shuffled - true: what the latents are worth.
    and each with `_stderr`: its standard error, a bootstrap over texts, of the differences a paired one.
"""


@dataclass(frozen=True)
class TokenLoss:
    """Cross-entropy of masked tokens at one token time, in nats per masked token.

    Attributes:
        time: t_x.
        true: given the text's own latents, at t_y = 0.
        shuffled: given another text's.
        none: given latents without information, at t_y = 1.
        gain: `none` - `true`, the nats that the latents are worth; its error is of the paired difference, smaller than
            those of the two.
        own_gain: `shuffled` - `true`, the nats that are this text's own.
        masked: number of masked tokens.
    """

    time: float
    true: Estimate
    shuffled: Estimate
    none: Estimate
    gain: Estimate
    own_gain: Estimate
    masked: int


@torch.no_grad()
def latent_usefulness(
    model: Any, batches: Iterable[Batch], token_times: Sequence[float] = TOKEN_TIMES, seed: int = 0
) -> list[TokenLoss]:
    """Computes the token loss with true, shuffled and no latents at each token time.

    The three see the same masks, which are nested: what is masked at a time is masked at later ones. The latents of a
    text are shuffled to the text before it, over all batches, so that nothing depends on how they were cut. Standard
    errors are a bootstrap over texts.

    Args:
        model: a denoiser with latents (`Denoiser` in `diffusion/denoiser.py`).
        batches: `(B, S)` ids each, or mappings with `input_ids`, `attention_mask`, `labels` (-100 where tokens are
            context, which is not masked) and `precomputed_latents`; two texts or more in all, whose latents are kept.
        token_times: values of t_x.
        seed: of the masks; a text's are those of its number.

    If the model's weights are sharded, every process has to call this, with the same texts. Raises `ValueError` for a
    model without latents, fewer than two texts, a time outside of (0, 1], and a time at which nothing is masked.
    """
    check_token_times("token_times", token_times)
    with evaluation_mode(model), gathered_for(model, "encode", "denoise"):
        texts = list(encoded_batches(model, batches))
        number = sum(len(batch.tokens) for batch in texts)
        if number < 2:
            raise ValueError(f"Latents are shuffled between texts: got {number}, give two or more.")
        shuffled = torch.cat([batch.clean for batch in texts]).roll(-1, 0)
        found = {time: {kind: np.zeros((2, number)) for kind in _KINDS} for time in token_times}
        first = 0
        for batch in texts:
            rows = slice(first, first + len(batch.tokens))
            latents = _latents(model, batch, shuffled[rows])
            examples = torch.arange(rows.start, rows.stop, device=batch.tokens.device)
            for time in token_times:
                # a new stream of the same numbers at each time: the masks are nested
                masked = _masked(model, batch, time, RowGenerator.from_seed(seed, examples))
                for kind, (given, latent_times) in latents.items():
                    found[time][kind][:, rows] = _loss(model, batch, masked, time, given, latent_times)
            first = rows.stop
    return [_token_loss(time, kinds) for time, kinds in found.items()]


def _latents(model: Any, batch: CleanBatch, shuffled: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Returns latents and their times `(B,)` by kind."""
    ones = torch.ones(len(batch.tokens), device=batch.tokens.device)
    nothing = model.latent_channel.dropped(batch.clean)
    return {"true": (batch.clean, 0 * ones), "shuffled": (shuffled, 0 * ones), "none": (nothing, ones)}


def _masked(model: Any, batch: CleanBatch, time: float, random: RowGenerator) -> Tensor:
    """Draws the tokens that are masked at a time, `(B, S)` bool."""
    channel = model.token_channel
    times = torch.full((len(batch.tokens),), time, dtype=torch.float64, device=batch.tokens.device)
    return batch.maskable & (channel.add_noise(batch.tokens, times, random) == channel.mask_id)


def _loss(
    model: Any, batch: CleanBatch, masked: Tensor, time: float, latents: Tensor, latent_times: Tensor
) -> NDArray[np.float64]:
    """Returns each text's summed cross-entropy at masked tokens, and their number, `(2, B)`."""
    times = torch.full_like(latent_times, time)
    logits = model.denoise(
        torch.where(masked, model.token_channel.mask_id, batch.tokens),
        latents,
        token_timesteps=times,
        latent_timesteps=latent_times,
        attention_mask=batch.attention_mask,
        logits_mask=masked,
        predict_latents=False,
    ).logits
    losses = torch.zeros(batch.tokens.shape, dtype=torch.float64, device=batch.tokens.device)
    losses[masked] = model.token_channel.cross_entropy(logits.double(), batch.tokens[masked])
    return torch.stack([losses.sum(1), masked.sum(1).double()]).cpu().numpy()


def _token_loss(time: float, kinds: dict[str, NDArray[np.float64]]) -> TokenLoss:
    masked = kinds["true"][1]
    if not masked.any():
        raise ValueError(f"No token is masked at the time {time} of `token_times`: give more texts, or later times.")
    sums = {kind: found[0] for kind, found in kinds.items()}
    true, shuffled, none, gain, own_gain = (
        bootstrap_ratio(numerators, masked)
        for numerators in (
            *(sums[kind] for kind in _KINDS),
            sums["none"] - sums["true"],
            sums["shuffled"] - sums["true"],
        )
    )
    return TokenLoss(time, true, shuffled, none, gain, own_gain, int(masked.sum()))


def check_token_times(name: str, given: Any) -> tuple[float, ...]:
    """Returns values of t_x. Raises `ValueError`, with the setting's name, for anything but different times."""
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise ValueError(f"`{name}` is {described(given)}; give a list of times, such as [0.5, 1.0].")
    for time in given:
        _TOKEN_TIME.check(name, time)
    times = tuple(float(time) for time in given)
    if len(set(times)) < len(times):
        raise ValueError(f"`{name}` is {list(given)}, with a time twice: give each once.")
    return times


def score_name(kind: str, time: float) -> str:
    """Returns the name of a number at a time, such as `latents_gain_0.5`."""
    return f"latents_{kind}_{time:.10g}"


def usefulness_scores(losses: Iterable[TokenLoss]) -> dict[str, Estimate]:
    """Returns the numbers at all times, by name."""
    kinds = (*_KINDS, "gain", "own_gain")
    return {score_name(kind, one.time): getattr(one, kind) for one in losses for kind in kinds}


class LatentUsefulness(evaluate.Measurement):
    """[`latent_usefulness`] through `evaluate`: `LatentUsefulness(model).compute(data=ids)`.

    Args:
        model: with latents, on whose device it is computed.
        token_times: values of t_x.
        seed: of the masks.
        batch_size: texts at once, on which nothing depends.

    Raises the errors of [`latent_usefulness`].
    """

    def __init__(
        self,
        model: Any,
        token_times: Sequence[float] = TOKEN_TIMES,
        seed: int = 0,
        batch_size: int = 32,
        **kwargs: Any,
    ) -> None:
        COUNT.check("batch_size", batch_size)
        SEED.check("seed", seed)
        self.model, self.draw, self.batch_size = model, seed, batch_size
        self.token_times = check_token_times("token_times", token_times)
        super().__init__(**kwargs)

    def _info(self) -> evaluate.MeasurementInfo:
        return measurement_info(_DESCRIPTION, _INPUTS_DESCRIPTION, IDS)

    def _compute(self, data: Sequence[Sequence[int]]) -> dict[str, Any]:
        losses = latent_usefulness(self.model, self._batches(data), self.token_times, self.draw)
        found: dict[str, Any] = {}
        for name, score in usefulness_scores(losses).items():
            found |= score.named(name)
        return {**found, "texts": len(data), "seed": self.draw}

    def _batches(self, data: Sequence[Sequence[int]]) -> Iterable[Batch]:
        filler = getattr(self.model.config, "pad_token_id", None) or 0
        for start in range(0, len(data), self.batch_size):
            ids, mask = padded_texts([list(row) for row in data[start : start + self.batch_size]], filler)
            yield {"input_ids": ids} if mask is None else {"input_ids": ids, "attention_mask": mask}
