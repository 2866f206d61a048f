"""An example's noise is named by its number, and the times of consecutive examples cover the square evenly."""

from __future__ import annotations

import math

import pytest
import torch

from ladd_hf import TrainingNoise
from ladd_hf.diffusion.time_sampling import draw_times


def noise(start, count, seed=0):
    return TrainingNoise(seed, torch.arange(start, start + count))


def star_discrepancy(points):
    """Largest difference between the share of points below x and x, over all x: exact, in one dimension."""
    ordered, n = points.sort().values, len(points)
    ranks = torch.arange(1, n + 1, dtype=points.dtype)
    return max(float((ranks / n - ordered).max()), float((ordered - (ranks - 1) / n).max()))


def squared_discrepancy(points):
    """Warnock's formula: mean over all corners (x, y) of (share of points below it - x y)^2."""
    n = len(points)
    pairs = (1 - torch.maximum(points[:, None], points[None])).prod(-1).sum() / n**2
    return float(pairs - 2 / n * ((1 - points**2) / 2).prod(-1).sum() + 1 / 9)


# --- positions ---


def test_noise_depends_on_the_example_and_not_on_its_batch():
    whole = noise(100, 32)
    for cut in (1, 8, 16):
        parts = [noise(100 + start, cut) for start in range(0, 32, cut)]
        assert torch.equal(torch.cat([part.positions() for part in parts]), whole.positions())
        assert torch.equal(torch.cat([part.generator().uniform(5) for part in parts]), whole.generator().uniform(5))
    shuffled = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(TrainingNoise(0, 100 + shuffled).positions(), whole.positions()[shuffled])


def test_each_seed_and_each_example_has_noise_of_its_own():
    seeds = [noise(0, 50, seed) for seed in range(20)]
    numbers = torch.cat([n.generator().uniform(1) for n in seeds]).flatten()
    assert numbers.unique().numel() == 1000
    starts = torch.stack([n.positions()[0] for n in seeds])
    assert starts.unique(dim=0).shape[0] == 20
    for axis in range(2):
        assert star_discrepancy(starts[:, axis]) < 1.63 / math.sqrt(20), "the 1% point of Kolmogorov's statistic"


def test_the_generator_starts_at_the_beginning_each_time():
    one = noise(0, 4)
    assert torch.equal(one.generator().uniform(3), one.generator().uniform(3))


@pytest.mark.parametrize(("count", "share"), [(64, 0.6), (256, 0.3)])
def test_every_window_of_consecutive_examples_covers_each_time_evenly(count, share):
    iid = math.sqrt(math.pi / 2) * math.log(2) / math.sqrt(count)  # Kolmogorov: the mean of independent draws
    for seed in range(5):
        for start in (0, 1, 7, 1000, 123_456_789):
            points = noise(start, count, seed).positions()
            for axis in range(2):
                assert star_discrepancy(points[:, axis]) < share * iid


@pytest.mark.parametrize(("count", "share"), [(64, 0.5), (256, 0.15)])
def test_every_window_of_consecutive_examples_covers_the_square_evenly(count, share):
    iid = (1 / 4 - 1 / 9) / count  # the mean of independent draws
    for seed in range(5):
        for start in (0, 1, 7, 1000, 123_456_789):
            assert squared_discrepancy(noise(start, count, seed).positions()) < share * iid


def test_times_do_not_coarsen_however_large_the_examples_numbers():
    torch.manual_seed(0)
    steps = noise(0, 64).positions().diff(dim=0) % 1
    for one in (noise(10**9, 64), *(TrainingNoise.draw(64, torch.device("cpu")) for _ in range(5))):
        torch.testing.assert_close(one.positions().diff(dim=0) % 1, steps, atol=1e-6, rtol=0)


def test_noise_for_a_single_loss_comes_from_the_global_generator():
    torch.manual_seed(1)
    one, other = (TrainingNoise.draw(4, torch.device("cpu")) for _ in range(2))
    torch.manual_seed(1)
    again = TrainingNoise.draw(4, torch.device("cpu"))
    assert one.seed == again.seed and torch.equal(one.examples, again.examples)
    assert one.seed != other.seed
    assert torch.equal(one.examples - one.examples[0], torch.arange(4))


# --- times ---


def times_of(distribution, count=4096, **options):
    return draw_times(distribution, noise(0, count).positions(), **options)


def test_joint_times_are_one_time():
    times = times_of("joint")
    assert torch.equal(times.token_times, times.latent_times)
    assert (times.token_rates == 1).all() and (times.latent_rates == 1).all()
    assert star_discrepancy(times.token_times) < 0.01


def test_sequential_times_lie_on_the_two_sides():
    times = times_of("sequential")
    tokens_move = times.token_rates > 0
    assert torch.equal(times.latent_rates > 0, ~tokens_move), "one of them at a time"
    assert abs(tokens_move.double().mean() - 0.5) < 0.01
    assert (times.latent_times[tokens_move] == 0).all() and (times.token_times[~tokens_move] == 1).all()
    assert star_discrepancy(times.token_times[tokens_move]) < 0.01
    assert star_discrepancy(times.latent_times[~tokens_move]) < 0.01
    assert (times.token_rates[tokens_move] == 2).all(), "each side takes half of the draws"


def test_token_times_leave_the_latents_clean():
    times = times_of("tokens")
    assert not times.latent_times.any() and not times.latent_rates.any()
    assert (times.token_rates == 1).all() and star_discrepancy(times.token_times) < 0.01


def test_independent_times_fill_the_square():
    times = times_of("independent")
    points = torch.stack([times.token_times, times.latent_times], dim=1)
    assert squared_discrepancy(points[:1024]) < 1e-4
    correlation = torch.corrcoef(points.T)[0, 1]
    assert abs(correlation) < 0.01
    assert (times.token_rates == 1).all() and (times.latent_rates == 1).all()


def test_distributions_joined_by_a_plus_share_the_examples_evenly():
    times = times_of("tokens+joint+independent")
    clean = times.latent_rates == 0
    shared = (times.token_times == times.latent_times) & ~clean
    for own in (clean, shared, ~clean & ~shared):
        assert abs(own.double().mean() - 1 / 3) < 0.01
        assert star_discrepancy(times.token_times[own]) < 0.02
    assert not times.latent_times[clean].any()
    assert abs(torch.corrcoef(torch.stack([times.token_times, times.latent_times])[:, ~clean & ~shared])[0, 1]) < 0.03
    assert (times.token_rates == 1).all(), "each is drawn as it is alone"
    with pytest.raises(ValueError, match="'joint\\+diagonal' is unknown"):
        times_of("joint+diagonal")


@pytest.mark.parametrize("distribution", ["joint", "independent", "tokens", "sequential"])
def test_times_that_move_are_at_least_the_smallest_and_those_that_stand_stay(distribution):
    times = times_of(distribution, min_time=0.25)
    for t, rate in ((times.token_times, times.token_rates), (times.latent_times, times.latent_rates)):
        moving = rate > 0
        assert (t[moving] >= 0.25).all() and (t <= 1).all()
        assert ((t[~moving] == 0) | (t[~moving] == 1)).all()
    assert torch.equal(times.token_times > 0.25, times_of(distribution).token_times > 0.25), "others are as they were"


# --- the shift ---


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_the_shift_is_the_papers_formula(shift):
    positions = torch.rand(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = positions[:, 0]
    times = draw_times("joint", positions, shift=shift)
    torch.testing.assert_close(times.token_times, shift * t / (1 + (shift - 1) * t))
    if shift == 1:
        assert torch.equal(times.token_times, t)
    else:
        assert ((times.token_times > t) == (shift > 1)).all(), "more than 1 shifts towards noise"


def test_tokens_with_a_time_of_their_own_are_not_shifted():
    for distribution in ("independent", "sequential", "tokens", "sequential+independent"):
        plain, shifted = times_of(distribution), times_of(distribution, shift=3.0)
        assert torch.equal(shifted.token_times, plain.token_times)
        assert torch.equal(shifted.token_rates, plain.token_rates)
        moving = plain.latent_rates > 0
        assert (shifted.latent_times[moving] > plain.latent_times[moving]).all()
    both = times_of("joint+independent", shift=3.0)
    plain = times_of("joint+independent")
    assert ((both.token_times > plain.token_times).double().mean() - 0.5).abs() < 0.01


@pytest.mark.parametrize("distribution", ["joint", "sequential", "independent"])
def test_the_rate_is_how_fast_a_shifted_time_passes(distribution):
    generator = torch.Generator().manual_seed(0)
    positions = 0.02 + 0.44 * torch.rand(200, 2, dtype=torch.float64, generator=generator)
    positions += 0.5 * (torch.rand(200, 1, generator=generator) < 0.5)  # away from the ends of both legs
    h = 1e-6
    low, middle, high = (draw_times(distribution, positions + step, shift=2.5) for step in (-h, 0, h))
    for name in ("token", "latent"):
        slope = (getattr(high, f"{name}_times") - getattr(low, f"{name}_times")) / (2 * h)
        torch.testing.assert_close(getattr(middle, f"{name}_rates"), slope, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("shift", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("distribution", ["joint", "sequential", "independent"])
def test_weighed_by_the_rates_any_shift_integrates_over_the_same_times(distribution, shift):
    times = times_of(distribution, count=20_000, shift=shift)
    for t, rate in ((times.token_times, times.token_rates), (times.latent_times, times.latent_rates)):
        assert abs((rate * t**2).mean() - 1 / 3) < 2e-3


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_the_shift_leaves_the_ends_where_they_are(end):
    times = draw_times("joint", torch.full((1, 2), end, dtype=torch.float64), shift=5.0)
    assert times.token_times.item() == end


def test_times_are_drawn_on_a_path_that_is_given_as_data():
    positions = noise(0, 64).positions()
    named, bent = draw_times("sequential", positions), draw_times([[1, 1], [1, 0.3], [0, 0]], positions)
    for given in ([[1, 1], [1, 0], [0, 0]], "[[1, 1], [1, 0], [0, 0]]"):
        assert all(torch.equal(a, b) for a, b in zip(draw_times(given, positions), named, strict=True))
    on_the_side = bent.token_times == 1
    assert ((bent.latent_times >= 0.3) == on_the_side).all() and 0 < on_the_side.sum() < 64
    torch.testing.assert_close(bent.latent_times[~on_the_side], 0.3 * bent.token_times[~on_the_side])


@pytest.mark.parametrize("wrong", [3, [[1, 1]], [[0, 0], [1, 1]], "[[1, 1]", ["joint"]])
def test_times_on_what_is_no_path_are_refused(wrong):
    with pytest.raises(ValueError, match=r"`time_distribution` .* is unknown; .*give"):
        draw_times(wrong, torch.zeros(1, 2, dtype=torch.float64))
