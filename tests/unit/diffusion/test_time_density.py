"""Adaptive times: another law of the draws, the same expectation, and less variance."""

from __future__ import annotations

import math

import pytest
import torch

from ladd_hf import TrainingNoise, TrainingObjective
from ladd_hf.diffusion.time_density import NUM_BINS, TimeDensity, TimeHistogram

EDGE = torch.arange(NUM_BINS + 1, dtype=torch.float64) / NUM_BINS


def uneven(seed=0):
    shares = torch.rand(NUM_BINS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.05
    return TimeDensity(shares / shares.sum())


def even_numbers(count=200_000):
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def steep(u):
    """A loss that is large near the clean end."""
    return 1 / (0.02 + u)


# --- the density ---


def test_each_bin_gets_its_share_of_the_draws():
    density = uneven()
    positions, weights = density.warped(even_numbers())
    counts = torch.histogram(positions, EDGE).hist / len(positions)
    torch.testing.assert_close(counts, density.shares, atol=2e-5, rtol=0)
    assert (positions.diff() >= 0).all() and positions.min() >= 0 and positions.max() < 1
    assert weights.unique().numel() == NUM_BINS


LOSSES = {"steep": steep, "even": torch.ones_like, "linear": lambda u: u, "waves": lambda u: torch.sin(9 * u)}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_weighted_draws_have_the_expectation_of_even_ones(loss):
    numbers = even_numbers()
    positions, weights = uneven().warped(numbers)
    assert float((weights * loss(positions)).mean()) == pytest.approx(float(loss(numbers).mean()), abs=1e-4, rel=1e-4)


def test_the_even_density_changes_nothing():
    numbers = even_numbers(1000)
    positions, weights = TimeDensity.even().warped(numbers)
    torch.testing.assert_close(positions, numbers)
    assert (weights == 1).all()
    torch.testing.assert_close(TimeHistogram().density("cpu").shares, TimeDensity.even().shares)


def test_numbers_at_the_ends_stay_inside():
    for density in (uneven(), TimeDensity.even()):
        positions, weights = density.warped(torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64))
        assert positions.min() >= 0 and positions.max() < 1 and weights.isfinite().all()


# --- the histogram ---


def adapted(loss, steps=60, batch=64):
    histogram = TimeHistogram()
    for step in range(steps):
        uniform = torch.rand(batch, dtype=torch.float64, generator=torch.Generator().manual_seed(step))
        density = histogram.density("cpu")
        positions, _ = density.warped(uniform)
        histogram.update(density.moments(positions, loss(positions)))
    return histogram.density("cpu")


def test_the_variance_falls_to_that_of_the_best_density():
    density, numbers = adapted(steep), even_numbers()
    plain = steep(numbers).var()
    positions, weights = density.warped(numbers)
    found = (weights * steep(positions)).var()
    mean = steep(numbers).mean()
    best = torch.stack([steep(part).square().mean().sqrt() for part in numbers.chunk(NUM_BINS)]).mean().square()
    assert found < 0.06 * plain
    assert found + mean**2 < 1.05 * best / 0.9, "a tenth of the draws are even"
    assert float(weights.max()) <= 10


def test_it_follows_a_loss_that_moves():
    """What it has seen of one half fades while as many steps see the other."""
    histogram, ends = TimeHistogram(), torch.arange(NUM_BINS) / NUM_BINS
    for half in (ends < 0.5, ends >= 0.5):
        for _ in range(400):
            density = histogram.density("cpu")
            histogram.update(density.moments(ends, half.double()))
    later = histogram.density("cpu").shares[ends >= 0.5].sum()
    assert later > 0.75


def test_without_a_loss_anywhere_it_stays_even():
    torch.testing.assert_close(adapted(torch.zeros_like).shares, TimeDensity.even().shares)


def test_moments_are_sums_that_batches_add_up_to():
    density, positions = uneven(), torch.rand(100, dtype=torch.float64)
    losses = steep(positions)
    whole = density.moments(positions, losses)
    parts = sum(density.moments(p, x) for p, x in zip(positions.split(7), losses.split(7), strict=True))
    torch.testing.assert_close(parts, whole)
    assert float(whole[1].sum()) == 100 and float(whole[0].sum()) == pytest.approx(float(losses.square().sum()))


# --- the training loss ---


def loss_of(model, tokens, objective, density=None, first=0):
    noise = TrainingNoise(0, torch.arange(first, first + len(tokens)), density)
    return model(tokens, labels=tokens, objective=objective, noise=noise, loss_only=True)


def tokens(rows):
    return torch.randint(1, 10, (rows, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["none", "continuous", "discrete"])
@pytest.mark.parametrize("distribution", ["joint", "independent", "sequential+joint"])
def test_with_even_times_the_loss_is_the_plain_one(kind, distribution, stirred_model):
    model = stirred_model(kind)
    plain, even = (
        loss_of(model, tokens(8), TrainingObjective(time_distribution=distribution, adaptive_times=adaptive))
        for adaptive in (False, True)
    )
    torch.testing.assert_close(even.loss, plain.loss, rtol=1e-6, atol=1e-6)
    assert plain.time_moments is None and float(even.time_moments[1].sum()) == 8


SETTINGS = {
    "token_weighting": "elbo",
    "latent_weighting": "plain",
    "min_time": 0.1,
    "consistency_weight": 0.5,
    "conditional_independence_weight": 0.5,
    "latent_dropout": 0.1,
}


@torch.no_grad()
@pytest.mark.parametrize("distribution", ["joint", "independent"])
def test_every_term_has_the_expectation_of_even_times(distribution, stirred_model):
    model, rows = stirred_model("continuous"), tokens(1).expand(4000, -1)
    parts = []
    for density in (None, uneven()):
        objective = TrainingObjective(time_distribution=distribution, adaptive_times=density is not None, **SETTINGS)
        runs = [loss_of(model, rows, objective, density, 4000 * run).loss_parts for run in range(3)]
        parts.append({name: torch.stack([run[name] for run in runs]).double() for name in runs[0]})
    for name, plain in parts[0].items():
        found = parts[1][name]
        error = 6 * math.sqrt(float(plain.var() + found.var()) / 3) + 0.01 * float(plain.mean())
        assert float(found.mean()) == pytest.approx(float(plain.mean()), abs=error), name
        assert error < 0.3 * float(plain.mean()), "else nothing was shown"


@torch.no_grad()
def test_the_moments_are_those_of_the_examples_losses(stirred_model):
    """Of one example the loss is its own, whatever its weight."""
    model, density = stirred_model("continuous"), uneven()
    objective = TrainingObjective(adaptive_times=True, time_distribution="joint", latent_loss_weight=0.5)
    for number in range(5):
        found = loss_of(model, tokens(1), objective, density, number)
        position, weight = density.warped(TrainingNoise(0, torch.tensor([number])).positions()[:, 0])
        place = int(position * NUM_BINS)
        expected = (float(found.loss) / float(weight)) ** 2
        assert float(found.time_moments[0, place]) == pytest.approx(expected, rel=1e-4)
        assert found.time_moments[1].nonzero().flatten().tolist() == [place]


def test_what_would_be_biased_is_refused():
    with pytest.raises(ValueError, match=r"`adaptive_times` is set, and `encoder_corruption` is 0.5.*set one of them"):
        TrainingObjective(adaptive_times=True, encoder_corruption=0.5)
