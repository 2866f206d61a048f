"""The Gaussian process: steps that turn the forward process around, weights that are KL divergences."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ladd_hf.diffusion.gaussian import (
    LATENT_SOLVERS,
    add_gaussian_noise,
    ddim_step,
    ddpm_step,
    noise_from_sample,
    noise_weight,
    sample_from_noise,
    sample_weight,
)
from ladd_hf.diffusion.noise_schedules import GAUSSIAN_SCHEDULES, gaussian_schedule

INTERVALS = [(1.0, 0.9), (1.0, 0.01), (0.7, 0.3), (0.5, 0.499), (0.02, 0.0), (1.0, 0.0)]  # t, s


@pytest.fixture(params=sorted(GAUSSIAN_SCHEDULES))
def schedule(request):
    return gaussian_schedule(request.param)


@pytest.fixture(params=INTERVALS, ids=str)
def interval(request):
    return tuple(torch.tensor(time, dtype=torch.float64) for time in request.param)


def normals(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coefficients(solver, schedule, t, s):
    """A step is linear in (predicted y_0, y_t, noise): its three factors."""
    one, zero = torch.ones((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    units = ((one, zero, zero), (zero, one, zero), (zero, zero, one))
    return [solver(schedule, clean, noisy, t, s, noise) for clean, noisy, noise in units]


# --- between y_0, y_t and the noise ---


@pytest.mark.parametrize("time", [0.0, 1e-4, 0.3, 0.999, 1.0])
def test_sample_and_noise_recover_each_other_at_every_time(schedule, time):
    clean, noise, t = normals(0, 2, 4, 3), normals(1, 2, 4, 3), torch.tensor(time, dtype=torch.float64)
    noisy = add_gaussian_noise(schedule, clean, noise, t)
    torch.testing.assert_close(noise_from_sample(schedule, noisy, clean, t), noise)
    torch.testing.assert_close(sample_from_noise(schedule, noisy, noise, t), clean)


def test_each_example_is_noised_to_its_own_time(schedule):
    clean, noise = normals(0, 3, 4, 2), normals(1, 3, 4, 2)
    t = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    together = add_gaussian_noise(schedule, clean, noise, t[:, None, None])
    alone = [add_gaussian_noise(schedule, clean[i], noise[i], t[i]) for i in range(3)]
    torch.testing.assert_close(together, torch.stack(alone))
    assert (together[0] - clean[0]).abs().max() < 0.1 and (together[2] - noise[2]).abs().max() < 0.1


# --- reverse steps at the exact y_0 ---


def test_ddim_lands_on_the_exact_y_s_of_the_same_noise(schedule, interval):
    t, s = interval
    clean, noise = normals(0, 2, 4, 3), normals(1, 2, 4, 3)
    noisy = add_gaussian_noise(schedule, clean, noise, t)
    expected = add_gaussian_noise(schedule, clean, noise, s)
    torch.testing.assert_close(ddim_step(schedule, clean, noisy, t, s), expected)


def test_ddim_has_no_randomness(schedule, interval):
    assert coefficients(ddim_step, schedule, *interval)[2] == 0


def test_many_ddim_steps_end_where_one_does(schedule):
    clean, noise = normals(0, 2, 4, 3), normals(1, 2, 4, 3)
    times = torch.linspace(1, 0, 9, dtype=torch.float64)
    state = add_gaussian_noise(schedule, clean, noise, times[0])
    for t, s in itertools.pairwise(times):
        state = ddim_step(schedule, clean, state, t, s)
    torch.testing.assert_close(state, add_gaussian_noise(schedule, clean, noise, times[-1]))


def test_ddpm_has_the_mean_and_variance_of_the_forward_process_at_s(schedule, interval):
    t, s = interval
    of_clean, of_noisy, of_noise = coefficients(ddpm_step, schedule, t, s)
    torch.testing.assert_close(of_clean + of_noisy * schedule.signal(t), schedule.signal(s))
    variance = (of_noisy * schedule.noise(t)) ** 2 + of_noise**2
    torch.testing.assert_close(variance, schedule.noise(s) ** 2)


def test_ddpm_has_the_covariance_of_y_s_and_y_t_of_the_forward_process(schedule, interval):
    # Forward, y_t = (a(t) / a(s)) y_s + fresh noise, so given y_0 the covariance is (a(t) / a(s)) s(s)^2.
    t, s = interval
    of_noisy = coefficients(ddpm_step, schedule, t, s)[1]
    forward = schedule.signal(t) / schedule.signal(s) * schedule.noise(s) ** 2
    torch.testing.assert_close(of_noisy * schedule.noise(t) ** 2, forward)


@pytest.mark.parametrize("solver", [ddim_step, ddpm_step])
def test_steps_of_a_fine_grid_lose_little_in_float32(schedule, solver):
    clean, noisy, noise = normals(0, 4, 3), normals(1, 4, 3), normals(2, 4, 3)
    for t, s in ((1.0, 0.999), (0.5, 0.499), (0.002, 0.001)):
        times = torch.tensor([t, s], dtype=torch.float64)
        exact = solver(schedule, clean, noisy, *times, noise)
        rounded = solver(schedule, clean.float(), noisy.float(), *times.float(), noise.float())
        torch.testing.assert_close(rounded.double(), exact, rtol=1e-3, atol=1e-3)


def test_the_two_solvers_have_names():
    assert LATENT_SOLVERS["ddim"] is ddim_step and LATENT_SOLVERS["ddpm"] is ddpm_step


# --- weights of the bound ---


def test_sample_weight_is_half_the_drop_of_the_signal_to_noise_ratio(schedule, interval):
    t, s = interval
    ratio_s, ratio_t = (schedule.signal(time) ** 2 / schedule.noise(time) ** 2 for time in (s, t))
    torch.testing.assert_close(sample_weight(schedule, t, s), (ratio_s - ratio_t) / 2, rtol=1e-9, atol=0)


def test_sample_weight_is_the_kl_divergence_of_two_reverse_steps(schedule, interval):
    t, s = interval
    truth, guess, noisy = normals(0, 5), normals(1, 5), normals(2, 5)
    zero = torch.zeros_like(noisy)
    spread = coefficients(ddpm_step, schedule, t, s)[2].expand(5)
    means = [ddpm_step(schedule, clean, noisy, t, s, zero) for clean in (truth, guess)]
    divergence = kl_divergence(*(Normal(mean, spread) for mean in means)).sum()
    expected = sample_weight(schedule, t, s) * (truth - guess).square().sum()
    torch.testing.assert_close(divergence, expected, rtol=1e-8, atol=0)


def test_noise_weight_weighs_an_error_of_the_noise_as_the_error_of_y_0_it_makes(schedule, interval):
    t, s = interval
    noisy, noise, guess = normals(0, 5), normals(1, 5), normals(2, 5)
    cleans = [sample_from_noise(schedule, noisy, each, t) for each in (noise, guess)]
    by_sample = sample_weight(schedule, t, s) * (cleans[0] - cleans[1]).square().sum()
    by_noise = noise_weight(schedule, t, s) * (noise - guess).square().sum()
    torch.testing.assert_close(by_noise, by_sample, rtol=1e-9, atol=0)


@pytest.mark.parametrize("weight", [sample_weight, noise_weight])
def test_weights_are_positive(schedule, interval, weight):
    assert weight(schedule, *interval) > 0


def test_sample_weights_of_a_grid_add_up_to_that_of_one_step(schedule):
    times = torch.linspace(1, 0, 20, dtype=torch.float64)
    pieces = sample_weight(schedule, times[:-1], times[1:]).sum()
    torch.testing.assert_close(pieces, sample_weight(schedule, times[0], times[-1]))
