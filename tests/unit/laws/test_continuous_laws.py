"""Runs of continuous latents with an exact denoiser have the law that closed forms give."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from ladd_hf import LaddConfig, LaddSequentialScheduler, RowGenerator

ALMOST_NEVER = 1e-4  # p-values below this are failures; the seeds are fixed
COUNT = 20_000
CONFIG = LaddConfig(vocab_size=3, max_position_embeddings=1, latent_type="continuous", latent_length=1, latent_dim=1)


def signal_variance(t):
    """a(t)^2 of the default schedule, squeezed as the method says."""
    return 1e-4 + (1 - 2e-4) * math.sqrt(1 - t)


class GaussianWorld:
    """Latents from a mixture of Gaussians; E[y_0 | y_t] is known."""

    def __init__(self, *components):
        self.components = components  # (weight, mean, standard deviation)

    def posterior_mean(self, noisy, t):
        a2 = signal_variance(t)
        a, s2 = math.sqrt(a2), 1 - a2
        means, logs = [], []
        for weight, mean, std in self.components:
            spread = a2 * std**2 + s2
            means.append(mean + a * std**2 / spread * (noisy - a * mean))
            logs.append(math.log(weight) - 0.5 * math.log(spread) - (noisy - a * mean) ** 2 / (2 * spread))
        shares = torch.stack(logs).softmax(0)
        return (shares * torch.stack(means)).sum(0)

    def __call__(self, t, noisy):
        prediction = self.posterior_mean(noisy.double(), t)
        return SimpleNamespace(logits=torch.zeros(0, 3), latent_prediction=prediction)

    def distribution(self, y):
        """P(y_0 <= y)."""
        return sum(weight * stats.norm.cdf(y, mean, std) for weight, mean, std in self.components)


def run(world, num_steps, solver, seed=0, start=None, count=COUNT):
    """Latents `(count,)` after so many latent steps."""
    scheduler = LaddSequentialScheduler(latent_share=0.99, latent_solver=solver).for_model(CONFIG)
    scheduler.set_timesteps(num_steps + 1)
    random = RowGenerator.from_seed(seed, torch.arange(count))
    latents = scheduler.prior_latents(1, random, count) if start is None else start
    latents, tokens = latents.double(), torch.full((count, 1), 2)
    for step in range(num_steps):
        _, t_y = scheduler.times(step)
        assert t_y.item() == pytest.approx(1 - step / num_steps)
        output = world(1 - step / num_steps, latents)
        tokens, latents = scheduler.step(output, step, tokens, latents, generator=random, return_dict=False)
    assert not scheduler.moves_latents(num_steps)
    return latents.flatten()


def gaussian_run(mean, std, num_steps, solver):
    """Mean and standard deviation after a run from N(0, 1): every step is a linear map of y_t and fresh noise."""
    now_mean, now_variance = 0.0, 1.0
    for step in range(num_steps):
        t, s = 1 - step / num_steps, 1 - (step + 1) / num_steps
        a2 = signal_variance(t)
        slope = math.sqrt(a2) * std**2 / (a2 * std**2 + 1 - a2)  # E[y_0 | y_t] = mean + slope (y_t - a mean)
        offset = mean - slope * math.sqrt(a2) * mean
        if step == num_steps - 1:
            of_noisy, of_clean, of_noise = 0.0, 1.0, 0.0
        else:
            b2 = signal_variance(s)
            if solver == "ddim":
                of_noisy = math.sqrt((1 - b2) / (1 - a2))
                of_clean, of_noise = math.sqrt(b2) - of_noisy * math.sqrt(a2), 0.0
            else:
                added = 1 - a2 / b2
                of_noisy = math.sqrt(a2 / b2) * (1 - b2) / (1 - a2)
                of_clean = math.sqrt(b2) * added / (1 - a2)
                of_noise = math.sqrt(added * (1 - b2) / (1 - a2))
        gain = of_noisy + of_clean * slope
        now_mean = gain * now_mean + of_clean * offset
        now_variance = gain**2 * now_variance + of_noise**2
    return now_mean, math.sqrt(now_variance)


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 8, 32])
def test_runs_towards_a_gaussian_have_its_closed_form_law(num_steps, solver):
    mean, std = gaussian_run(0.8, 0.5, num_steps, solver)
    latents = run(GaussianWorld((1.0, 0.8, 0.5)), num_steps, solver)
    assert stats.kstest(latents.numpy(), stats.norm(mean, max(std, 1e-12)).cdf).pvalue > ALMOST_NEVER
    if num_steps in (2, 3):  # where laws of neighbouring runs still differ
        neighbour = gaussian_run(0.8, 0.5, num_steps + 1, solver)
        assert stats.kstest(latents.numpy(), stats.norm(*neighbour).cdf).pvalue < ALMOST_NEVER


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
def test_the_closed_form_law_approaches_the_gaussian(solver):
    errors = [abs(gaussian_run(0.8, 0.5, n, solver)[1] - 0.5) for n in (2, 8, 32, 128, 512)]
    assert all(a > b for a, b in itertools.pairwise(errors)) and errors[-1] < 0.01


def test_one_ddpm_step_has_the_posteriors_marginal():
    world, start = GaussianWorld((0.3, -1.5, 0.3), (0.7, 1.0, 0.4)), 0.4
    latents = run(world, 2, "ddpm", start=torch.full((COUNT, 1, 1), start))  # 1 -> 1/2 -> 0
    scheduler = LaddSequentialScheduler(latent_share=0.99, latent_solver="ddpm").for_model(CONFIG)
    scheduler.set_timesteps(3)
    noisy = torch.full((COUNT, 1, 1), start, dtype=torch.float64)
    random = RowGenerator.from_seed(0, torch.arange(COUNT))
    _, middle = scheduler.step(
        world(1.0, noisy), 0, torch.full((COUNT, 1), 2), noisy, generator=random, return_dict=False
    )
    a2, b2 = signal_variance(1.0), signal_variance(0.5)
    added, clean = 1 - a2 / b2, float(world.posterior_mean(noisy[:1], 1.0))
    mean = math.sqrt(a2 / b2) * (1 - b2) / (1 - a2) * start + math.sqrt(b2) * added / (1 - a2) * clean
    std = math.sqrt(added * (1 - b2) / (1 - a2))
    assert stats.kstest(middle.flatten().numpy(), stats.norm(mean, std).cdf).pvalue > ALMOST_NEVER
    torch.testing.assert_close(latents, world.posterior_mean(middle, 0.5).flatten())


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
def test_many_steps_approach_a_mixture_and_few_do_not(solver):
    world = GaussianWorld((0.3, -1.5, 0.3), (0.7, 1.0, 0.4))
    distances = [stats.kstest(run(world, n, solver).numpy(), world.distribution).statistic for n in (2, 16, 128)]
    assert distances[0] > 2 * distances[1] > 4 * distances[2]
    assert distances[2] < 0.03


def mixture_run(world, num_steps, grid):
    """P(y_0 <= y) after a DDPM run, as a function: the law of each step on a grid, by quadrature."""
    density, width = stats.norm.pdf(grid), grid[1] - grid[0]
    for step in range(num_steps - 1):
        t, s = 1 - step / num_steps, 1 - (step + 1) / num_steps
        a2, b2 = signal_variance(t), signal_variance(s)
        added, clean = 1 - a2 / b2, world.posterior_mean(torch.tensor(grid), t).numpy()
        mean = math.sqrt(a2 / b2) * (1 - b2) / (1 - a2) * grid + math.sqrt(b2) * added / (1 - a2) * clean
        spread = math.sqrt(added * (1 - b2) / (1 - a2))
        density = stats.norm.pdf(grid[:, None], mean[None], spread) @ density * width
    last = world.posterior_mean(torch.tensor(grid), 1 / num_steps).numpy()  # rises with y_t
    below = np.cumsum(density) * width - 0.5 * density * width
    return lambda y: np.interp(y, last, below, left=0.0, right=1.0)


@pytest.mark.parametrize(("num_steps", "other"), [(1, 2), (2, 3), (3, 4), (8, 4)])
def test_ddpm_runs_towards_a_mixture_have_the_law_of_quadrature(num_steps, other):
    world, grid = GaussianWorld((0.3, -1.5, 0.3), (0.7, 1.0, 0.4)), np.linspace(-7, 7, 2801)
    latents = run(world, num_steps, "ddpm").numpy()
    assert stats.kstest(latents, mixture_run(world, num_steps, grid)).pvalue > ALMOST_NEVER
    assert stats.kstest(latents, mixture_run(world, other, grid)).pvalue < ALMOST_NEVER


def test_ddim_is_a_function_of_its_start_and_ddpm_is_not():
    world = GaussianWorld((0.3, -1.5, 0.3), (0.7, 1.0, 0.4))
    start = torch.randn(100, 1, 1, generator=torch.Generator().manual_seed(0))
    ddim, ddpm = ([run(world, 4, s, seed, start, 100) for seed in (1, 2)] for s in ("ddim", "ddpm"))
    assert torch.equal(*ddim) and not torch.equal(*ddpm)
