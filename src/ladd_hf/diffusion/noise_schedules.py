"""Noise schedules of the two channels: the share of clean data left at time t (0: clean, 1: pure noise)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..utils.number_ranges import POSITIVE, NumberRange
from ..utils.registry import Registry, Spec
from .tabulated_signal import TabulatedSignal

_SQUEEZE = NumberRange("a share between 0 and 0.5", least=0, most=0.5, without_ends=("least", "most"))


class MaskSchedule(ABC):
    """alpha(t): the probability that a token (or a latent code) is still visible at time t. Paper, section 2.

    It falls from exactly 1 at t = 0 to exactly 0 at t = 1, so that the NELBO is a bound and runs start from pure noise.
    All methods map a tensor of times in [0, 1] to a tensor of the same shape.
    """

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Returns the probability of being visible at time t; falls from 1 to 0."""

    @abstractmethod
    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Returns d alpha / d t, never positive."""

    def weight(self, t: Tensor) -> Tensor:
        """Returns -alpha'(t) / (1 - alpha(t)), the weight of the masked cross-entropy in the continuous-time bound."""
        return -self.alpha_derivative(t) / (1 - self.alpha(t))


class PolynomialMaskSchedule(MaskSchedule):
    """alpha(t) = 1 - t^degree. Degree 1 is the linear schedule; weight: degree / t."""

    def __init__(self, degree: float = 2.0) -> None:
        if degree not in POSITIVE:
            raise ValueError(f"The polynomial schedule got degree {degree}; give a positive degree, such as 2.")
        self.degree = degree

    def alpha(self, t: Tensor) -> Tensor:
        """Returns 1 - t^degree."""
        return 1 - t**self.degree

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Returns -degree t^(degree - 1)."""
        return -self.degree * t ** (self.degree - 1)

    def weight(self, t: Tensor) -> Tensor:
        """Returns degree / t."""
        return self.degree / t  # the quotient of the two above, without cancellation near t = 0


class LinearMaskSchedule(PolynomialMaskSchedule):
    """alpha(t) = 1 - t; weight: 1 / t. The reference default for tokens."""

    def __init__(self) -> None:
        super().__init__(degree=1)


class CosineMaskSchedule(MaskSchedule):
    """alpha(t) = cos(pi t / 2)."""

    def alpha(self, t: Tensor) -> Tensor:
        """Returns cos(pi t / 2)."""
        return torch.cos(math.pi / 2 * t)

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Returns -pi / 2 sin(pi t / 2)."""
        return -math.pi / 2 * torch.sin(math.pi / 2 * t)

    def weight(self, t: Tensor) -> Tensor:
        """Returns pi / 2 / tan(pi t / 4)."""
        return math.pi / 2 / torch.tan(math.pi / 4 * t)  # sin x / (1 - cos x) = 1 / tan(x / 2)


class GeometricMaskSchedule(MaskSchedule):
    """exp(-sigma(t)) for a total noise sigma(t) = sigma_min^(1 - t) sigma_max^t, stretched to the range from 1 to 0.

    Unstretched, a share exp(-sigma_max) would still be visible at t = 1 and a share 1 - exp(-sigma_min) hidden at
    t = 0. The bound would miss these shares, while a run starts with nothing visible and ends with everything visible.
    """

    def __init__(self, sigma_min: float = 1e-4, sigma_max: float = 20.0) -> None:
        if sigma_min not in POSITIVE or sigma_max not in POSITIVE or sigma_min >= sigma_max:
            raise ValueError(
                f"The geometric schedule got noise from {sigma_min} to {sigma_max}; give 0 < `sigma_min` < `sigma_max`."
            )
        self.sigma_min, self.log_ratio = sigma_min, math.log(sigma_max / sigma_min)
        self._visible_range = -math.expm1(sigma_min - sigma_max)  # exp(-sigma(0)) - exp(-sigma(1)), over exp(-sigma(0))

    def alpha(self, t: Tensor) -> Tensor:
        """Returns (exp(-sigma(t)) - exp(-sigma(1))) / (exp(-sigma(0)) - exp(-sigma(1)))."""
        return 1 + torch.expm1(-self._added_noise(t)) / self._visible_range

    def alpha_derivative(self, t: Tensor) -> Tensor:
        """Returns -sigma'(t) exp(-sigma(t)) / (exp(-sigma(0)) - exp(-sigma(1)))."""
        return -self._noise_rate(t) * torch.exp(-self._added_noise(t)) / self._visible_range

    def weight(self, t: Tensor) -> Tensor:
        """Returns sigma'(t) / (exp(sigma(t) - sigma(0)) - 1)."""
        return self._noise_rate(t) / torch.expm1(self._added_noise(t))

    def _added_noise(self, t: Tensor) -> Tensor:
        """Returns sigma(t) - sigma(0)."""
        return self.sigma_min * torch.expm1(self.log_ratio * t)

    def _noise_rate(self, t: Tensor) -> Tensor:
        """Returns sigma'(t)."""
        return self.sigma_min * self.log_ratio * torch.exp(self.log_ratio * t)


class GaussianSchedule:
    """a(t)^2, the share of the signal's variance at time t in a variance-preserving process. Paper, section 3.

    Args:
        signal_variance: the raw a(t)^2, from 1 at t = 0 to 0 at t = 1.
        eps: a(t)^2 is rescaled to [eps, 1 - eps], so that a(t) and s(t) stay above 0.
    """

    def __init__(self, signal_variance: Callable[[Tensor], Tensor], eps: float = 1e-4) -> None:
        if eps not in _SQUEEZE:
            raise ValueError(f"The Gaussian schedule got eps {eps}; give a share between 0 and 0.5, such as 1e-4.")
        self._signal_variance = signal_variance
        self.eps = eps

    def signal_variance(self, t: Tensor) -> Tensor:
        """Returns a(t)^2, in the shape of `t`."""
        return self.eps + (1 - 2 * self.eps) * self._signal_variance(t).clamp(0, 1)

    def signal(self, t: Tensor) -> Tensor:
        """Returns a(t), the factor of y_0 in y_t."""
        return self.signal_variance(t).sqrt()

    def noise(self, t: Tensor) -> Tensor:
        """Returns s(t) = sqrt(1 - a(t)^2), the factor of the noise in y_t."""
        return (1 - self.signal_variance(t)).sqrt()


# Named functions, not lambdas, so that a model can be pickled and sent to another process.
def _sqrt_signal(t: Tensor) -> Tensor:
    return (1 - t).clamp(min=0).sqrt()


def _cosine_signal(t: Tensor) -> Tensor:
    return torch.cos(math.pi / 2 * (t + 0.008) / 1.008) ** 2


def _linear_signal(t: Tensor) -> Tensor:
    return 1 - t


@dataclass(frozen=True)
class _TangentSignal:
    """1 / (1 + d^2 tan^2(pi t / 2))."""

    d: float

    def __call__(self, t: Tensor) -> Tensor:
        angle = math.pi / 2 * t
        signal, noise = torch.cos(angle).square(), (self.d * torch.sin(angle)).square()
        return signal / (signal + noise)  # without the infinite tangent at t = 1


def _sqrt_schedule(eps: float = 1e-4) -> GaussianSchedule:
    return GaussianSchedule(_sqrt_signal, eps)


def _cosine_schedule(eps: float = 1e-4) -> GaussianSchedule:
    return GaussianSchedule(_cosine_signal, eps)


def _linear_schedule(eps: float = 1e-4) -> GaussianSchedule:
    return GaussianSchedule(_linear_signal, eps)


def _polynomial_schedule(degree: float = 2.0, eps: float = 1e-4) -> GaussianSchedule:
    return GaussianSchedule(PolynomialMaskSchedule(degree).alpha, eps)


def _tan_schedule(d: float = 5.0, eps: float = 1e-4) -> GaussianSchedule:
    """a(t)^2 = 1 / (1 + d^2 tan^2(pi t / 2)), of signal-to-noise ratio 1 / (d tan(pi t / 2))^2: d = 1 is the cosine
    without its offset, larger values spend more times on noise. Not the paper's: that of DiLaDiff, arXiv 2605.23605."""
    if d not in POSITIVE:
        raise ValueError(f"The tan schedule got d {d}; give a positive factor of the noise, such as 5.")
    return GaussianSchedule(_TangentSignal(d), eps)


def _table_schedule(signal_variance: Sequence[float] = (1.0, 0.0), eps: float = 1e-4) -> GaussianSchedule:
    """a(t)^2 through given values at even times, from 1 to 0, such as `decoding_schedule` measures; of the two ends
    alone it is the cosine without its offset. Not the paper's."""
    return GaussianSchedule(TabulatedSignal.of(signal_variance), eps)


MASK_SCHEDULES: Registry[Callable[..., MaskSchedule]] = Registry(
    "mask noise schedule",
    {
        "linear": LinearMaskSchedule,
        "polynomial": PolynomialMaskSchedule,
        "cosine": CosineMaskSchedule,
        # In MDLM's code alpha(t) = 1 - (1 - eps) t; stretched to reach 0 at t = 1, it is the linear schedule.
        "log_linear": LinearMaskSchedule,
        "geometric": GeometricMaskSchedule,
    },
)
GAUSSIAN_SCHEDULES: Registry[Callable[..., GaussianSchedule]] = Registry(
    "Gaussian noise schedule",
    {
        "sqrt": _sqrt_schedule,
        "cosine": _cosine_schedule,
        "linear": _linear_schedule,
        "polynomial": _polynomial_schedule,
        "tan": _tan_schedule,
        "table": _table_schedule,
    },
)
# Each registers a schedule under a name, for use in `token_noise_schedule` and `latent_noise_schedule`.
register_mask_schedule = MASK_SCHEDULES.register
register_gaussian_schedule = GAUSSIAN_SCHEDULES.register


def mask_schedule(spec: Spec) -> MaskSchedule:
    """Builds the schedule of a masked channel by name: `linear`, `polynomial`, `cosine`, `log_linear`, `geometric`.

    `spec` is the name, or a mapping with `name` and the schedule's options. Raises `ValueError` for anything else.
    """
    schedule: MaskSchedule = MASK_SCHEDULES.build(spec)
    return schedule


def gaussian_schedule(spec: Spec) -> GaussianSchedule:
    """Builds the schedule of continuous latents as `mask_schedule` does.

    Its names are `sqrt`, `cosine`, `linear`, `polynomial`, `tan` and `table`.
    """
    schedule: GaussianSchedule = GAUSSIAN_SCHEDULES.build(spec)
    return schedule
