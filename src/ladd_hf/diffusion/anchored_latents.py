"""Continuous latents whose clean values are among K anchors: a step draws one, and its likelihood is known.

The network gives log p(k | y_t, x_t) up to a constant. With y_0 = C_k drawn from it, q(y_s | y_t, y_0) is the exact
reverse step, and p(y_s | y_t) a mixture of K Gaussians of known means and equal variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .continuous_latents import BOUND_STEP, ContinuousLatents
from .gaussian import ddpm_mean, ddpm_step, ddpm_variance
from .masked import TokenSampler
from .noise_schedules import GaussianSchedule
from .precision import at_least_float32, full_precision
from .rng import RowGenerator


@dataclass(frozen=True)
class Anchors:
    """Values that clean latents take, or nearly take.

    Attributes:
        points: `(K, D)`.
        spread: variance of each coordinate around the nearest point, a scalar; 0 if latents are at the points.
    """

    points: Tensor
    spread: Tensor | float = 0.0

    def log_likelihoods(self, noisy: Tensor, signal_variance: Tensor) -> Tensor:
        """Returns log p(y_t | anchor k) of `(B, M, D)` noisy latents, `(B, M, K)`, without what all have in common.

        It is the density of a C_k with variance s^2 + a^2 spread, for `signal_variance` a^2 `(B,)`.
        """
        share = signal_variance.to(noisy)[:, None, None]
        signal, variance = share.sqrt(), 1 - share + share * self.spread
        return signal * (self._products(noisy) - signal * self._squares(noisy) / 2) / variance

    def square_distances(self, latents: Tensor) -> Tensor:
        """Returns |y - C_k|^2, `(..., D)` to `(..., K)`."""
        distances = latents.square().sum(-1, keepdim=True) - 2 * self._products(latents) + self._squares(latents)
        return distances.clamp(min=0)

    def nearest(self, latents: Tensor) -> Tensor:
        """Returns the number of the nearest point, `(..., D)` to `(...)`."""
        return self.square_distances(latents).argmin(-1)

    def mean(self, logits: Tensor, noisy: Tensor, signal_variance: Tensor) -> Tensor:
        """Returns E[y_0 | y_t] of logits `(B, M, K)` over the points, `(B, M, D)`."""
        shares = at_least_float32(logits).softmax(-1)
        with full_precision(shares):
            mean = shares @ self.points.to(shares)
        share = signal_variance.to(mean)[:, None, None]
        gain = share.sqrt() * self.spread / (1 - share + share * self.spread)  # how far y_0 follows y_t from its point
        return mean + gain * (noisy.to(mean) - share.sqrt() * mean)

    def _products(self, latents: Tensor) -> Tensor:
        """Returns y C_k, `(..., D)` to `(..., K)`, in the latents' precision: in half of it an anchor is lost."""
        with full_precision(latents):
            return latents @ self.points.to(latents).T

    def _squares(self, like: Tensor) -> Tensor:
        return self.points.to(like).square().sum(-1)


class AnchoredLatents(ContinuousLatents):
    """Vectors under Gaussian noise whose clean values are drawn from anchors.

    Predictions are logits `(B, M, K)` over the anchors.

    Args:
        schedule: a(t)^2.
        latent_dim: size D of a latent.
        solver: the reverse step at the drawn anchor; only `ddpm` follows the process whose bound this gives, if a run
            has more than one step of the latents.
        renoising: see [`ContinuousLatents`].
        anchors: the anchors; a scheduler, which has none, takes those of each output.
    """

    ends_noisy = False
    is_drawn = True
    has_rate = False

    def __init__(
        self,
        schedule: GaussianSchedule,
        latent_dim: int,
        solver: str = "ddpm",
        renoising: float = 0.0,
        anchors: Anchors | None = None,
    ) -> None:
        super().__init__(schedule, False, latent_dim, solver, renoising)
        self._anchors, self._solver_name = anchors, solver
        self.has_own_law = solver == "ddpm" and not renoising

    @property
    def anchors(self) -> Anchors:
        """The anchors. Raises `ValueError` if they are not known."""
        if self._anchors is None:
            raise ValueError(
                "The latents are drawn from anchors, which the denoiser's output does not hold: give an output with "
                "`latent_anchors` of shape (K, D), as `LaddForDiffusionLM` does."
            )
        return self._anchors

    def with_anchors(self, anchors: Anchors) -> AnchoredLatents:
        """Returns the channel of these anchors."""
        return AnchoredLatents(self.schedule, self.latent_dim, self._solver_name, self.renoising, anchors)

    def of_output(self, output: Any) -> AnchoredLatents:
        """See [`LatentChannel.of_output`]."""
        points, spread = getattr(output, "latent_anchors", None), getattr(output, "latent_anchor_spread", None)
        return self if points is None else self.with_anchors(Anchors(points, 0.0 if spread is None else spread))

    def loss(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the cross-entropy of the nearest anchors, averaged over the latents, `(B,)` nats."""
        return self._cross_entropy(prediction, clean).mean(1)

    def bound(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the bound's integrand at times `t`, `(B,)` nats per unit of time.

        It is the squared error of the mean times the rise of `progress`, and for the rest, below a time that is spread
        evenly over [0, 1e-3], the cross-entropy of the anchors, so that the integral is the same for any such time.
        """
        times = t.double().clamp(min=1e-8)
        short = (times / 50).clamp(max=BOUND_STEP)
        rise = (self.progress(times - short) - self.progress(times)) / short
        above = (times / BOUND_STEP).clamp(max=1)  # probability that the last time is below
        named = torch.where(times <= BOUND_STEP, self._cross_entropy(prediction, clean).sum(1) / BOUND_STEP, 0.0)
        return above * rise * self.rate(prediction, clean, noisy, t) + named

    def step_bound(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor, s: Tensor, random: RowGenerator
    ) -> Tensor:
        """Returns an estimate of the KL from the posterior to the mixture of the DDPM step t -> s, `(B,)` nats.

        It has no bias: it is the logarithm of the ratio of the two at a draw of the posterior; in the step to s = 0,
        which gives an anchor itself, the cross-entropy of the nearest. With exact predictions its mean is what y_s adds
        to what y_t tells of the anchor, so that steps of a single latent cost together what one alone would.
        """
        t, s = t.double(), s.double()
        end = torch.where(s < t, s, t / 2)  # a step that goes nowhere has no variance, and costs nothing
        noise = random.normal(*noisy.shape[1:]).to(noisy)
        clean = clean.to(noisy)
        following = ddpm_step(self.schedule, clean, noisy, self._times(t, noisy), self._times(end, noisy), noise)
        return torch.where(s < t, -self._log_ratio(prediction, clean, noisy, following, t, end), 0.0)

    def _step_target(
        self, prediction: Tensor, noisy: Tensor, t: float, random: RowGenerator, draw: TokenSampler
    ) -> Tensor:
        """Draws an anchor for each latent, `(B, M, D)`.

        A temperature is that of the anchors' law, not of the noise's: a latent by itself has then the same tempered law
        after any number of steps. Tempered as a whole, the posterior would take noise for signal.
        """
        uniform, evidence = random.uniform(noisy.shape[1]), None
        if draw.temperature != 1:
            times = torch.full((len(noisy),), t, dtype=torch.float64, device=noisy.device)
            share = self.schedule.signal_variance(times).float()
            evidence = self.anchors.log_likelihoods(noisy.float(), share).flatten(0, 1)
        drawn = draw(prediction.flatten(0, 1), uniform.flatten(), evidence).view(noisy.shape[:2])
        return self.anchors.points[drawn].to(noisy)

    def estimate(self, prediction: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """See [`ContinuousLatents.estimate`]."""
        return self.anchors.mean(prediction, noisy, self.schedule.signal_variance(t.double())).to(noisy)

    def forced_step(self, clean: Tensor, noisy: Tensor, t: float, s: float, random: RowGenerator) -> Tensor:
        """Draws latents at s > 0 from the posterior at the clean latents, `(B, M, D)`; at s = 0 they are these."""
        return clean.to(noisy) if s <= 0 else super().forced_step(clean, noisy, t, s, random)

    def step_log_ratio(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, following: Tensor, t: float, s: float
    ) -> Tensor:
        """Returns the ratio of the mixture's density to that of the Gaussian around the clean anchors; at s = 0 the
        log-probability of these."""
        if s <= 0:
            return -self._cross_entropy(prediction.double(), clean).sum(1)
        times = (torch.full((len(noisy),), time, dtype=torch.float64, device=noisy.device) for time in (t, s))
        return self._log_ratio(prediction, clean, noisy, following, *times)

    def _log_ratio(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, following: Tensor, t: Tensor, s: Tensor
    ) -> Tensor:
        """Returns the same at times `(B,)` float64."""
        noisy, clean, following = noisy.double(), clean.double(), following.double()
        times = self._times(t, noisy), self._times(s, noisy)
        start = ddpm_mean(self.schedule, torch.zeros_like(noisy), noisy, *times)
        share = ddpm_mean(self.schedule, noisy.new_ones(()), noisy.new_zeros(()), *times)  # of y_0 in the mean
        variance = ddpm_variance(self.schedule, *times)  # (B, 1, 1), as is the share
        # log N(following; start + share C_k) for each k, without the part that all have in common
        points, moved = self.anchors.points.to(noisy), (following - start) * share
        towards = (moved @ points.T - share.square() * points.square().sum(-1) / 2) / variance
        own = (moved * clean - (share * clean).square() / 2).sum(-1) / variance.squeeze(-1)
        ratio = ((prediction.double().log_softmax(-1) + towards).logsumexp(-1) - own).sum(1)
        if not bool((s <= 0).any()):
            return ratio
        return torch.where(s <= 0, -self._cross_entropy(prediction.double(), clean).sum(1), ratio)

    def _cross_entropy(self, prediction: Tensor, clean: Tensor) -> Tensor:
        """Returns the cross-entropy of the nearest anchors, `(B, M)`, from `(B, M, K)` logits."""
        target = self.anchors.nearest(at_least_float32(clean))
        logits = at_least_float32(prediction).flatten(0, 1)
        return F.cross_entropy(logits, target.flatten(), reduction="none").view_as(target)

    def _squared_error(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        mean = self.anchors.mean(prediction, noisy, self.schedule.signal_variance(t.double()))
        return super()._squared_error(mean, clean, noisy, t)
