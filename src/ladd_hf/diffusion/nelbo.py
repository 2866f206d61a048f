"""The bound on the negative log-likelihood (NELBO), an integral along a path of the time square. Paper, section 7."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Integral

import torch
from torch import Tensor

from .bounds import Bound
from .channels import LatentChannel
from .denoiser import Denoiser, Encode
from .latents_alone import LatentsAlone, together_with_others
from .masked_channels import MaskedChannel
from .paths import JOINT, TOKENS_ONLY, PathSpec, TimePath, TimePoints, time_path
from .rng import RowGenerator
from .runs import RunSpec, from_noise, run_path
from .terms import latent_terms, token_weights

# Positions on the path stay this far from its clean end, where the weight is infinite and nothing is masked.
_SMALLEST_POSITION = 1e-6


@dataclass
class Nelbo(Bound):
    """Bound of each example in nats, `(B,)` float64, as two separate parts.

    Attributes:
        token_nats: integral of the weighted token cross-entropy.
        latent_nats: the same for the latents. With discrete codes, `total_nats` bounds -log p(x) along paths from
            (1, 1). Along a path from (1, 0), such as `tokens`, it bounds -log p(x | codes), which may be less. With
            continuous latents and a deterministic encoder this part depends on the smallest noise level: the total is
            ELBO-style, not a bound, unless they are snapped to anchors, which have probabilities as codes do.
        token_stderr, latent_stderr: standard errors of the two over the drawn times (nan for a single time).
        num_tokens: tokens of each example, without padding.
    """

    token_nats: Tensor
    latent_nats: Tensor
    token_stderr: Tensor
    latent_stderr: Tensor
    num_tokens: Tensor

    @property
    def total_nats(self) -> Tensor:
        """Sum of both parts, `(B,)`."""
        return self.token_nats + self.latent_nats


@torch.no_grad()
def nelbo(
    denoiser: Denoiser,
    tokens: Tensor,
    maskable: Tensor,
    attention_mask: Tensor | None = None,
    path: PathSpec | None = None,
    num_samples: int = 8,
    random: RowGenerator | None = None,
    encode: Encode | None = None,
    run: RunSpec | None = None,
) -> Nelbo:
    """Estimates the bound at `num_samples` points of the path per example, spread evenly from a random start.

    Of a model with self-conditioning it is the bound of evaluations without an earlier estimate, and so is the
    marginalised one, though its runs keep estimates.

    Args:
        denoiser: the model.
        tokens: `(B, S)` clean tokens.
        maskable: `(B, S)` bool, the tokens to score.
        attention_mask: `(B, S)`, or `None` without padding.
        path: a name, corners or a `TimePath`, see `time_path`; `joint` by default. The continuous-time bound is an
            integral along it. Without latents only t_x is used.
        num_samples: points per example; each costs one evaluation of the denoiser.
        random: the examples' random streams; by default from torch's global generator.
        encode: replaces the denoiser's own `encode`, for example one that returns precomputed latents.
        run: instead of a path, the points (t_x, t_y) of a run, as returned by `TimePath.grid`, or its number of steps
            along the path. The result is the bound of the samples of that run: a sum over its steps, larger than the
            integral, which it approaches.

    Raises `ValueError` for `num_samples` below 1, an invalid path, an invalid run, and if both are given.
    """
    if not isinstance(num_samples, Integral) or num_samples < 1:
        raise ValueError(f"`num_samples` is {num_samples}; give at least 1 point per example.")
    channel, masking = denoiser.latent_channel, denoiser.token_channel
    points_at = _route(path, run, with_latents=channel is not None)
    random = random or RowGenerator.from_generator(None, len(tokens), tokens.device)
    clean = (encode or denoiser.encode)(tokens, attention_mask, None).clean if channel is not None else tokens
    start, alone = random.uniform(), LatentsAlone.of(denoiser)
    token_draws, latent_draws = [], []
    for sample in range(num_samples):
        points = points_at(((start + sample) / num_samples).clamp(min=_SMALLEST_POSITION))
        noised = masking.add_noise(tokens, points.token_times, random.branch())
        masked = maskable & (noised == masking.mask_id)
        latents = channel.add_noise(clean, points.latent_times, random) if channel is not None else None
        weights = points.token_weights(masking)
        scored = masked & (weights > 0)[:, None]
        output = alone.evaluate(
            denoiser.denoise,
            torch.where(masked, masking.mask_id, tokens),
            latents,
            in_step=together_with_others(),
            token_timesteps=points.token_times,
            latent_timesteps=None if latents is None else points.latent_times,
            attention_mask=attention_mask,
            logits_mask=scored,
        )
        cross_entropy = torch.zeros(tokens.shape, dtype=torch.float64, device=tokens.device)
        if output.logits is not None:  # else no token was asked for
            cross_entropy[scored] = masking.cross_entropy(output.logits.double(), tokens[scored])
        token_draws.append(weights * cross_entropy.sum(1))
        if channel is not None and latents is not None:
            latent_draws.append(points.latent_terms(channel, output.latent_prediction, clean, latents, random))
    token_nats, token_stderr = _mean_and_error(torch.stack(token_draws))
    nothing = (torch.zeros_like(token_nats), torch.zeros_like(token_nats))
    latent_nats, latent_stderr = _mean_and_error(torch.stack(latent_draws)) if latent_draws else nothing
    return Nelbo(token_nats, latent_nats, token_stderr, latent_stderr, maskable.sum(1))


class _PathPoints(TimePoints):
    """Points of a path in continuous time."""

    @classmethod
    def on(cls, path: TimePath, position: Tensor) -> _PathPoints:
        """Returns points at positions in [0, 1], denser near the clean end of each leg.

        There the linear schedule masks a token with probability t and weighs it by 1 / t. At uniform times the square
        of that has no finite mean, so no standard error could be trusted; with squared positions it has one.
        """
        legs = len(path.legs)
        leg = (position * legs).floor().clamp(max=legs - 1)
        share = position * legs - leg
        t_x, t_y, token_rates, latent_rates = path.at((leg + share.square()) / legs)
        return cls(t_x, t_y, 2 * share * token_rates, 2 * share * latent_rates)

    def token_weights(self, channel: MaskedChannel) -> Tensor:
        """Returns the bound's weight of the tokens' cross-entropy, `(B,)`."""
        return token_weights(channel, self)

    def latent_terms(
        self, channel: LatentChannel, prediction: Tensor, clean: Tensor, noisy: Tensor, random: RowGenerator
    ) -> Tensor:
        """Returns the latents' integrand, `(B,)` nats."""
        return latent_terms(channel, prediction, clean, noisy, self)


@dataclass
class _RunSteps:
    """Steps of a run, from the times (t_x, t_y) to (s_x, s_y), `(B,)` each, out of `count` steps."""

    token_times: Tensor
    latent_times: Tensor
    s_x: Tensor
    s_y: Tensor
    count: int

    @classmethod
    def on(cls, run: TimePath, position: Tensor) -> _RunSteps:
        """Returns the steps at positions in [0, 1], the last step first; each takes an equal share."""
        corners = torch.tensor(run.vertices[::-1], dtype=position.dtype, device=position.device)
        count = len(corners) - 1
        step = (position * count).long().clamp(max=count - 1)
        (t_x, t_y), (s_x, s_y) = corners[step + 1].unbind(1), corners[step].unbind(1)
        return cls(t_x, t_y, s_x, s_y, count)

    def token_weights(self, channel: MaskedChannel) -> Tensor:
        """Returns the probability that a masked token is revealed, times the number of steps, `(B,)`."""
        return self.count * channel.reveal_probability(self.token_times, self.s_x)

    def latent_terms(
        self, channel: LatentChannel, prediction: Tensor, clean: Tensor, noisy: Tensor, random: RowGenerator
    ) -> Tensor:
        """Returns the latents' term of the step, times the number of steps, `(B,)` nats."""
        return self.count * channel.step_bound(prediction, clean, noisy, self.latent_times, self.s_y, random)


def _route(
    path: PathSpec | None, run: RunSpec | None, with_latents: bool
) -> Callable[[Tensor], _PathPoints | _RunSteps]:
    """Maps positions in [0, 1], 0 at the clean end, to points of the path or to steps of the run."""
    if run is not None:
        return partial(_RunSteps.on, run_path(run, path, with_latents))
    walked = JOINT if path is None else time_path(path)
    return partial(_PathPoints.on, from_noise(walked) if with_latents else TOKENS_ONLY)


def path_of_bound(path: PathSpec) -> TimePath:
    """Returns a path that the bound may be taken along, from (1, 1) or (1, 0).

    Raises `ValueError` for any other, and for what is no path.
    """
    return from_noise(time_path(path))


def _mean_and_error(draws: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean over the points and its standard error for independent points (evenly spread ones err less)."""
    error = draws.std(0, correction=1) if len(draws) > 1 else torch.full_like(draws[0], math.nan)
    return draws.mean(0), error / math.sqrt(len(draws))
