"""Continuous latents whose network output F is added to y_t: y_0 = c_skip(t) y_t + c_out(t) F. Ours, not the paper's.

The shares are those of EDM (Karras et al., arXiv 2206.00364), written for a process that preserves variance: the
network's target has unit variance at every time, and its errors are amplified as little as possible. v-prediction
(Salimans and Ho, arXiv 2202.00512) is the same for data of unit variance, with the other sign.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .continuous_latents import ContinuousLatents
from .gaussian import noise_from_sample
from .noise_schedules import GaussianSchedule
from .precision import at_least_float32


@dataclass(frozen=True)
class Preconditioning:
    """Shares of y_t and of the network's output in y_0, and the scale of the network's input.

    With r(t)^2 = s(t)^2 + a(t)^2 std^2, the variance of y_t: c_skip = a std^2 / r^2, c_out = sign s std / r and
    c_in = 1 / r. All methods map times to numbers of the same shape.

    Attributes:
        data_std: standard deviation std of a coordinate of y_0.
        sign: 1, or -1 for a network that predicts v.
    """

    data_std: float = 1.0
    sign: int = 1

    def skip(self, schedule: GaussianSchedule, t: Tensor) -> Tensor:
        """Returns c_skip, the factor of y_t."""
        return schedule.signal(t) * self.data_std**2 * self.input_scale(schedule, t).square()

    def out(self, schedule: GaussianSchedule, t: Tensor) -> Tensor:
        """Returns c_out, the factor of the network's output."""
        return self.sign * self.data_std * schedule.noise(t) * self.input_scale(schedule, t)

    def input_scale(self, schedule: GaussianSchedule, t: Tensor) -> Tensor:
        """Returns c_in, which gives y_t unit variance."""
        signal = schedule.signal_variance(t)
        return (1 - signal + signal * self.data_std**2).rsqrt()

    def target(self, schedule: GaussianSchedule, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Returns the output F that gives y_0 exactly: sign (s y_0 - a std^2 noise) / (std r)."""
        shares = schedule.noise(t) * latents - schedule.signal(t) * self.data_std**2 * noise
        return self.sign / self.data_std * self.input_scale(schedule, t) * shares


class PreconditionedLatents(ContinuousLatents):
    """Vectors under Gaussian noise, for a network that predicts the F of a [`Preconditioning`].

    Args:
        schedule: a(t)^2.
        preconditioning: the shares.
        latent_dim: size D of a latent.
        solver, renoising: see [`ContinuousLatents`].
    """

    def __init__(
        self,
        schedule: GaussianSchedule,
        preconditioning: Preconditioning,
        latent_dim: int,
        solver: str = "ddim",
        renoising: float = 0.0,
    ) -> None:
        super().__init__(schedule, False, latent_dim, solver, renoising)
        self.preconditioning = preconditioning

    def loss(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        """Returns the mean squared error of the network's output, `(B,)`, of which y_0's is c_out^2 times as much."""
        return self._output_error(prediction, clean, noisy, t).mean((1, 2))

    def _sample(self, prediction: Tensor, noisy: Tensor, times: Tensor) -> Tensor:
        shares = self.preconditioning
        return shares.skip(self.schedule, times) * noisy + shares.out(self.schedule, times) * prediction.to(noisy)

    def _squared_error(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        error = self._output_error(prediction, clean, noisy, t)
        return error * self.preconditioning.out(self.schedule, self._times(t, error)).square()

    def _output_error(self, prediction: Tensor, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
        clean, noisy = at_least_float32(clean), at_least_float32(noisy)
        times = self._times(t, clean)
        noise = noise_from_sample(self.schedule, noisy, clean, times).detach()  # a constant, as the noise itself is
        target = self.preconditioning.target(self.schedule, clean, noise, times)
        return (at_least_float32(prediction) - target).square()
