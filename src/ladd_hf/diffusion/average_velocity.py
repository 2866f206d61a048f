"""Average velocities of continuous latents along the flow that carries noise to data. Ours, not the paper's.

Any process that preserves variance runs along straight lines once it is rescaled: with z = y_t / (a + s) and
tau = s / (a + s), z = (1 - tau) y_0 + tau noise. Its flow has the velocity v(z, tau) = E[noise - y_0 | z]
= (z - E[y_0 | z]) / tau, and MeanFlow (Geng et al., arXiv 2505.13447) learns its average u between two times, with
which one step goes from t to r without error: z_r = z_t - (tau_t - tau_r) u(z_t, t, r).

Here a network keeps predicting a y_0, from which u = (z_t - y_0(t, r)) / tau_t. At r = t that is the mean of y_0, the
ordinary prediction; for r < t it is the point in which the chord from z_t through z_r ends, so that `ddim`, whose step
runs along that chord, is the jump. MeanFlow's identity u = v - (tau_t - tau_r) du/dtau reads, with k = tau_r / tau_t,

    y_0(t, r) = k E[y_0 | z_t] + (1 - k) y_0(t, r) - (tau_t - tau_r) d/dtau y_0(t, r),

the derivative along the flow, with r fixed. It is linear in the velocity, so that any unbiased one will do, such as
that of the example's own y_0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .noise_schedules import GaussianSchedule
from .precision import at_least_float32, full_precision


class Jump(NamedTuple):
    """Jumps from times t to r <= t, with tau of both, `(B,)` float64 each."""

    start: Tensor
    end: Tensor
    start_line: Tensor
    end_line: Tensor

    @classmethod
    def of(cls, schedule: GaussianSchedule, start: Tensor, end: Tensor) -> Jump:
        """Returns the jumps between times `(B,)`."""
        start, end = start.double(), end.double()
        return cls(start, end, line_time(schedule, start), line_time(schedule, end))


def line_time(schedule: GaussianSchedule, t: Tensor) -> Tensor:
    """Returns tau = s / (a + s), the time of the straight line, in the shape of `t`."""
    signal, noise = schedule.signal(t), schedule.noise(t)
    return noise / (signal + noise)


def motion(schedule: GaussianSchedule, noisy: Tensor, sample: Tensor, jump: Jump) -> tuple[Tensor, Tensor]:
    """Returns how far y_t and t would go in the jump at the rate that they have at t.

    It is tau_t - tau_r times their derivative by tau along the line through y_t and a predicted, or the true, y_0.

    Args:
        schedule: a(t)^2, with a derivative that is nowhere zero at the jumps' starts.
        noisy, sample: y_t and y_0, `(B, M, D)`.
        jump: from t to r.

    Returns `(B, M, D)` in the type of `noisy` and `(B,)` float64. (With a = cos of an angle and s = its sine, y_t moves
    by a noise - s y_0 per radian, and tau by 1 / (a + s)^2.)
    """
    t = jump.start
    variance, slope = cast(tuple[Tensor, Tensor], torch.func.jvp(schedule.signal_variance, (t,), (torch.ones_like(t),)))
    signal, noise = variance.sqrt(), (1 - variance).sqrt()
    angle = (jump.start_line - jump.end_line) * (signal + noise).square()
    a, s, radians = (one.to(noisy)[:, None, None] for one in (signal, noise, angle))
    return radians * (a * noisy - sample) / s, -2 * signal * noise / slope * angle


# dual numbers cannot be traced as of torch 2.13.0 (pytorch/pytorch#139756); the rest of a compiled step is
@torch.compiler.disable
def with_change(
    predict: Callable[[Tensor, Tensor], Tensor], noisy: Tensor, t: Tensor, moved: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Returns a prediction and its change by a Jacobian-vector product, `(B, M, D)` each, without gradient.

    It runs outside of autocast: a derivative of rounded numbers is noise.

    Args:
        predict: maps y_t and t to a predicted y_0; all its operations have forward derivatives.
        noisy, t: `(B, M, D)` and `(B,)`.
        moved: their tangents.
    """
    with torch.no_grad(), full_precision(noisy), forward_ad.dual_level():
        noisy, t = (forward_ad.make_dual(one, by) for one, by in zip((noisy, t), moved, strict=True))
        found = forward_ad.unpack_dual(predict(noisy, t))
        prediction, change = found.primal, found.tangent
        return prediction, torch.zeros_like(prediction) if change is None else change


def jump_target(sample: Tensor, prediction: Tensor, change: Tensor, jump: Jump, share: float = 1.0) -> Tensor:
    """Returns what the identity asks y_0(t, r) to be, `(B, M, D)`.

    Args:
        sample: the true or a predicted y_0 that gives the velocity at t.
        prediction, change: y_0(t, r), and how far it would go in the jump, see [`with_change`].
        jump: from t to r.
        share: of the derivative of u that counts, from 0, where the target is `sample`, to 1.
    """
    apart = (1 - jump.end_line / jump.start_line).to(prediction)[:, None, None]
    return sample + share * (apart * (prediction - sample) - change)


def velocity_error(prediction: Tensor, target: Tensor, jump: Jump) -> Tensor:
    """Returns the mean squared error of u in a coordinate, `(B,)`, from predicted y_0 `(B, M, D)`: that of y_0 over
    tau_t^2."""
    error = (at_least_float32(prediction) - target).square().mean((1, 2))
    return error / jump.start_line.to(error).square()


def damped(error: Tensor, scale: float) -> Tensor:
    """Returns errors `(B,)` over 1 + e / scale, with e their value without gradient: as they are where they are small,
    and with a gradient that is bounded where they are large. MeanFlow's adaptive weight, but for the factor `scale`."""
    return error / (1 + error.detach() / scale)
