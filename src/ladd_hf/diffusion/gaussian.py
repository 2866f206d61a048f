"""Variance-preserving diffusion of continuous latents: y_t = a(t) y_0 + s(t) noise. Paper, section 3.

Times are tensors that broadcast against the latents, `(batch_size, 1, 1)` or scalar; latents are
`(batch_size, latent_length, latent_dim)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..utils.registry import Registry
from .noise_schedules import GaussianSchedule


def add_gaussian_noise(schedule: GaussianSchedule, latents: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Returns y_t = a(t) y_0 + s(t) noise."""
    return schedule.signal(t) * latents + schedule.noise(t) * noise


def noise_from_sample(schedule: GaussianSchedule, noisy: Tensor, latents: Tensor, t: Tensor) -> Tensor:
    """Returns the noise that turns y_0 into y_t."""
    return (noisy - schedule.signal(t) * latents) / schedule.noise(t)


def sample_from_noise(schedule: GaussianSchedule, noisy: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Returns the y_0 that `noise` turned into y_t."""
    return (noisy - schedule.noise(t) * noise) / schedule.signal(t)


def ddim_step(
    schedule: GaussianSchedule, latents: Tensor, noisy: Tensor, t: Tensor, s: Tensor, noise: Tensor | None = None
) -> Tensor:
    """Returns y_s from the predicted y_0 (`latents`) and y_t by the deterministic DDIM step; ignores `noise`."""
    direction = noise_from_sample(schedule, noisy, latents, t)
    return schedule.signal(s) * latents + schedule.noise(s) * direction


def ddpm_step(
    schedule: GaussianSchedule, latents: Tensor, noisy: Tensor, t: Tensor, s: Tensor, noise: Tensor
) -> Tensor:
    """Draws y_s from the posterior q(y_s | y_t, y_0) at the predicted y_0 (`latents`), with standard normal `noise`."""
    return ddpm_mean(schedule, latents, noisy, t, s) + ddpm_variance(schedule, t, s).sqrt() * noise


def ddpm_mean(schedule: GaussianSchedule, latents: Tensor, noisy: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """Returns the mean of q(y_s | y_t, y_0)."""
    ratio = schedule.signal(t) / schedule.signal(s)  # r
    step_variance = _step_variance(schedule, t, s)  # v
    mean = ratio * schedule.noise(s) ** 2 * noisy + schedule.signal(s) * step_variance * latents
    return mean / schedule.noise(t) ** 2


def ddpm_variance(schedule: GaussianSchedule, t: Tensor, s: Tensor) -> Tensor:
    """Returns the variance of q(y_s | y_t, y_0), per coordinate: v s(s)^2 / s(t)^2."""
    return _step_variance(schedule, t, s) * schedule.noise(s) ** 2 / schedule.noise(t) ** 2


def sample_weight(schedule: GaussianSchedule, t: Tensor, s: Tensor) -> Tensor:
    """Weight of |y_0 - predicted y_0|^2 in the bound over the step s < t: a(s)^2 v / (2 s(s)^2 s(t)^2)."""
    scale = 2 * schedule.noise(s) ** 2 * schedule.noise(t) ** 2
    return schedule.signal_variance(s) * _step_variance(schedule, t, s) / scale


def noise_weight(schedule: GaussianSchedule, t: Tensor, s: Tensor) -> Tensor:
    """Weight of |noise - predicted noise|^2 in the bound over the step s < t: v / (2 s(s)^2 r^2)."""
    ratio_squared = schedule.signal_variance(t) / schedule.signal_variance(s)
    return _step_variance(schedule, t, s) / (2 * schedule.noise(s) ** 2 * ratio_squared)


def _step_variance(schedule: GaussianSchedule, t: Tensor, s: Tensor) -> Tensor:
    """v = s(t)^2 - r^2 s(s)^2 = 1 - r^2, the variance that the forward process adds between s and t."""
    return 1 - schedule.signal_variance(t) / schedule.signal_variance(s)


def time_before_noise(schedule: GaussianSchedule, s: float, share: float) -> float:
    """Returns the time up to s at which s(t) / a(t) is sqrt(1 - share^2) of that at s: noise of `share` times the one
    at s is what leads from there to s. It is 0 if there is no less noise before, and s for a share of 0."""
    if share == 0:
        return s
    wanted = (1 - share**2) * _noise_to_signal(schedule, s)
    low, high = 0.0, s
    if _noise_to_signal(schedule, low) >= wanted:
        return 0.0
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if _noise_to_signal(schedule, middle) < wanted else (low, middle)
    return high


def add_noise_between(schedule: GaussianSchedule, latents: Tensor, t: float, s: float, noise: Tensor) -> Tensor:
    """Returns y_s from y_t at an earlier time t < s by the forward process; from y_0 for t = 0."""
    start, end = (torch.tensor(time, dtype=torch.float64) for time in (t, s))
    kept = float(schedule.signal_variance(end)) / (float(schedule.signal_variance(start)) if t > 0 else 1.0)
    return math.sqrt(kept) * latents + math.sqrt(1 - kept) * noise


def _noise_to_signal(schedule: GaussianSchedule, t: float) -> float:
    """s(t)^2 / a(t)^2."""
    signal = float(schedule.signal_variance(torch.tensor(t, dtype=torch.float64)))
    return (1 - signal) / signal


# Solvers take the arguments of `ddpm_step`. They are not called for the step to s = 0, which returns the predicted y_0.
LATENT_SOLVERS: Registry[Callable[..., Tensor]] = Registry("`latent_solver`", {"ddim": ddim_step, "ddpm": ddpm_step})
register_latent_solver = LATENT_SOLVERS.register
