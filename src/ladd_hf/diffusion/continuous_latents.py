"""The channel of vectors under Gaussian noise (Co-LADD)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .channels import LatentChannel
from .gaussian import (
    LATENT_SOLVERS,
    add_gaussian_noise,
    add_noise_between,
    ddim_step,
    ddpm_mean,
    ddpm_step,
    ddpm_variance,
    noise_from_sample,
    noise_weight,
    sample_from_noise,
    sample_weight,
    time_before_noise,
)
from .masked import OWN_LAW, TokenSampler
from .noise_schedules import GaussianSchedule
from .precision import at_least_float32
from .rng import RowGenerator

# The bound of continuous latents depends on the smallest noise; it is taken over steps of this length in time.
BOUND_STEP = 1e-3


class ContinuousLatents(LatentChannel):
    """Vectors under variance-preserving Gaussian noise (Co-LADD).

    Args:
        schedule: a(t)^2.
        predicts_noise: True if the network predicts the noise, False if it predicts y_0.
        latent_dim: size D of a latent.
        solver: the reverse step: `ddim`, `ddpm` or another registered solver.
        renoising: share of the noise at a step's end that the step draws anew, from 0 to 1.

    Attributes:
        known_length: length of each clean latent, to which a step scales the predicted one; `None` if it is not known.
    """

    ends_noisy = True
    is_drawn = False
    known_length: float | None = None

    def __init__(
        self,
        schedule: GaussianSchedule,
        predicts_noise: bool,
        latent_dim: int,
        solver: str = "ddim",
        renoising: float = 0.0,
    ) -> None:
        self.schedule = schedule
        self.predicts_noise = predicts_noise
        self.latent_dim = latent_dim
        self.solver = LATENT_SOLVERS[solver]
        self.renoising = renoising
        self.has_own_law = not renoising

    def prior(self, length: int, random: RowGenerator) -> Tensor:
        """Draws standard normal latents, `(B, M, D)` float32."""
        return random.normal(length, self.latent_dim).float()

    def dropped(self, latents: Tensor) -> Tensor:
        """Returns zeros in the shape of `latents`."""
        return torch.zeros_like(latents)

    def add_noise(self, clean: Tensor, t: Tensor, random: RowGenerator) -> Tensor:
        """Returns y_t = a(t) y_0 + s(t) noise at times `t` `(B,)`: `(B, M, D)` in at least float32."""
        clean = at_least_float32(clean)  # half precision cannot represent the noise at small times
        noise = random.normal(*clean.shape[1:]).to(clean)
        return add_gaussian_noise(self.schedule, clean, noise, self._times(t, clean))

    def trajectory(self, clean: Tensor, times: Sequence[float], random: RowGenerator) -> list[Tensor]:
        """Returns latents `(B, M, D)` at falling times, all of one walk of the forward process from the clean ones."""
        clean = at_least_float32(clean)
        steps = random.normal(len(times), *clean.shape[1:]).to(clean)
        noise, spread, noisy = torch.zeros_like(clean), 0.0, []
        for number in reversed(range(len(times))):  # y_t / a(t) is y_0 and noise that grows by independent pieces
            signal = self.schedule.signal_variance(torch.tensor(times[number], dtype=torch.float64))
            grown = float((1 - signal) / signal)
            noise, spread = noise + math.sqrt(max(grown - spread, 0.0)) * steps[:, number], grown
            noisy.append(float(signal.sqrt()) * (clean + noise))
        return noisy[::-1]

    def loss(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the mean squared error of y_0, or of the noise, `(B,)`."""
        return self._squared_error(prediction, clean, noisy, t).mean((1, 2))

    def bound(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the squared error with the bound's weight over a step of 1e-3, `(B,)` nats per unit of time."""
        times = t.double().clamp(min=BOUND_STEP)
        weight = self._weight(times, times - BOUND_STEP) / BOUND_STEP
        return weight * self._squared_error(prediction, clean, noisy, t).sum((1, 2))

    def step_bound(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor, s: Tensor, random: RowGenerator
    ) -> Tensor:
        """Returns the KL from the posterior to the DDPM step t -> s, `(B,)` nats: the weighted squared error."""
        return self._weight(t.double(), s.double()) * self._squared_error(prediction, clean, noisy, t).sum((1, 2))

    def rate(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the squared error of y_0, `(B,)`."""
        error = self._squared_error(prediction, clean, noisy, t).sum((1, 2))
        if not self.predicts_noise:
            return error
        signal = self.schedule.signal_variance(t.double())
        return error * (1 - signal) / signal

    def progress(self, t: Tensor) -> Tensor:
        """Returns half the signal-to-noise ratio, a(t)^2 / (2 s(t)^2): its rise weighs the squared error of y_0."""
        signal = self.schedule.signal_variance(t.double())
        return signal / (2 * (1 - signal))

    def _weight(self, t: Tensor, s: Tensor) -> Tensor:
        weigh = noise_weight if self.predicts_noise else sample_weight
        return weigh(self.schedule, t, s)

    def draw_moves(self, noisy: Tensor, t: float, s: float, random: RowGenerator) -> Tensor:
        """Returns True for all latents, `(B, M)` bool: every step denoises every latent."""
        return torch.ones(noisy.shape[:2], dtype=torch.bool, device=noisy.device)

    def known(self, noisy: Tensor, t: float) -> Tensor:
        """Returns True for all latents at time 0, and for none before, `(B, M)` bool."""
        return torch.full(noisy.shape[:2], t <= 0, device=noisy.device)

    def written(self, moves: Tensor, s: float) -> Tensor:
        """Returns `moves` in the step to time 0, and none before."""
        return moves & (s <= 0)

    def step(
        self,
        prediction: Tensor,
        noisy: Tensor,
        t: float,
        s: float,
        random: RowGenerator,
        moves: Tensor,
        draw: TokenSampler = OWN_LAW,
    ) -> Tensor:
        """Makes one step of the solver, `(B, M, D)`; the last one (s = 0) returns the predicted y_0.

        With `renoising` the solver goes on to the `jump_time` before s, and noise leads back to s. If the solver's
        latents have the law of the process at that time, so have those at s, whatever the share.
        """
        clean = self._step_target(prediction, noisy, t, random, draw)
        if s <= 0:
            return clean
        end, noise = self.jump_time(s), random.normal(*noisy.shape[1:]).to(noisy)
        times = (torch.tensor(time, dtype=noisy.dtype, device=noisy.device) for time in (t, end))
        moved = self.solver(self.schedule, clean, noisy, *times, noise) if end > 0 else clean
        if end == s:
            return moved
        return add_noise_between(self.schedule, moved, end, s, random.normal(*noisy.shape[1:]).to(noisy))

    @property
    def follows_jumps(self) -> bool:
        """True if the solver runs along the chord to the predicted y_0, as jumps do; others need the mean of y_0."""
        return self.solver is ddim_step

    def jump_time(self, s: float) -> float:
        """Returns the time that the solver leads to in a step to time s: s itself, or before it with `renoising`."""
        return time_before_noise(self.schedule, s, self.renoising)

    def _step_target(
        self, prediction: Tensor, noisy: Tensor, t: float, random: RowGenerator, draw: TokenSampler
    ) -> Tensor:
        """Returns the y_0 that a step leads to, `(B, M, D)`."""
        clean = self.predicted_sample(prediction, noisy, t)
        return clean if self.known_length is None else F.normalize(clean, dim=-1) * self.known_length

    def start_log_ratio(self, clean: Tensor, noisy: Tensor, t: float) -> Tensor:
        """Returns the ratio of a standard normal density to that of the noised latents."""
        noisy, time = noisy.double(), torch.tensor(t, dtype=torch.float64, device=noisy.device)
        spread = self.schedule.noise(time)
        noise = (noisy - self.schedule.signal(time) * clean.double()) / spread
        return (noise.square() / 2 - noisy.square() / 2 + spread.log()).sum((1, 2))

    def forced_step(self, clean: Tensor, noisy: Tensor, t: float, s: float, random: RowGenerator) -> Tensor:
        """Draws latents at s > 0 from the posterior at the clean latents, `(B, M, D)`."""
        start, end = (torch.tensor(time, dtype=noisy.dtype, device=noisy.device) for time in (t, s))
        noise = random.normal(*noisy.shape[1:]).to(noisy)
        return ddpm_step(self.schedule, clean.to(noisy), noisy, start, end, noise)

    def step_log_ratio(
        self, prediction: Tensor, clean: Tensor, noisy: Tensor, following: Tensor, t: float, s: float
    ) -> Tensor:
        """Returns the ratio of two Gaussians with the variance of the DDPM step, s > 0: around the mean from the
        predicted y_0, and around that from the clean one."""
        times = tuple(torch.tensor(time, dtype=torch.float64, device=noisy.device) for time in (t, s))
        noisy, clean = noisy.double(), clean.double()
        predicted = self.predicted_sample(prediction.double(), noisy, t)
        of_model, of_process = (ddpm_mean(self.schedule, one, noisy, *times) for one in (predicted, clean))
        apart = (following.double() - of_model).square() - (following.double() - of_process).square()
        return -(apart / (2 * ddpm_variance(self.schedule, *times))).sum((1, 2))

    def predicted_sample(self, prediction: Tensor, noisy: Tensor, t: float) -> Tensor:
        """Returns the predicted y_0, computed from the predicted noise if the network predicts noise."""
        return self._sample(prediction, noisy, torch.tensor(t, dtype=noisy.dtype, device=noisy.device))

    def estimate(self, prediction: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the predicted mean of y_0 at times `t` `(B,)`, `(B, M, D)`: an input of the next evaluation."""
        return self._sample(prediction, noisy, self._times(t, noisy))

    def _sample(self, prediction: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        """Returns the predicted y_0 at times that broadcast against the latents."""
        if not self.predicts_noise:
            return prediction.to(noisy)
        return sample_from_noise(self.schedule, noisy, prediction.to(noisy), times)

    def check(self, latents: Tensor, batch_size: int, length: int) -> None:
        """Raises `ValueError` unless `latents` are `(batch_size, length, latent_dim)` of a floating dtype."""
        shape = (batch_size, length, self.latent_dim)
        if not latents.is_floating_point() or latents.shape != shape:
            raise ValueError(
                f"`latents` have shape {tuple(latents.shape)} and dtype {latents.dtype}; this model takes vectors of "
                f"shape {shape} and a floating dtype, as `encode_latents` gives them."
            )

    def _squared_error(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        target, noisy = at_least_float32(clean), at_least_float32(noisy)
        if self.predicts_noise:
            target = noise_from_sample(self.schedule, noisy, target, self._times(t, target)).detach()
        return (at_least_float32(prediction) - target).square()

    @staticmethod
    def _times(t: Tensor, latents: Tensor) -> Tensor:
        return t.to(latents.dtype)[:, None, None]
