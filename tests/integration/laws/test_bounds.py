"""The bound, in continuous time and of N steps, is what enumeration and quadrature say, and never below the truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from helpers.exact_denoiser import SEQUENCES, ExactDenoiser, S, V, random_table
from helpers.exact_losses import alphas, enumerated_run, masked_cross_entropy
from helpers.exact_world import ExactWorld, joint_points

from ladd_hf import RowGenerator, TimePath
from ladd_hf.diffusion.nelbo import nelbo
from ladd_hf.diffusion.paths import JOINT, SEQUENTIAL

STAIRS = TimePath(((1, 1), (1, 0.4), (0.3, 0.4), (0.3, 0), (0, 0)))
RUNS = {
    "joint": lambda n, spacing: JOINT.grid([n], spacing),
    "sequential": lambda n, spacing: SEQUENTIAL.grid([n, n], spacing),
    "stairs": lambda n, spacing: STAIRS.grid([n] * 4, spacing),
}
PATHS = {"joint": JOINT, "sequential": SEQUENTIAL, "stairs": STAIRS}


def quadrature(denoiser, path, nodes=24):
    """Token part and code part of the bound in continuous time, by Gauss-Legendre on each leg."""
    places, weights = np.polynomial.legendre.leggauss(nodes)
    parts = [torch.zeros(len(SEQUENCES), dtype=torch.float64) for _ in range(2)]
    for (x1, y1), (x0, y0) in itertools.pairwise(path.vertices):
        for place, weight in zip((places + 1) / 2, weights / 2, strict=True):
            t_x, t_y = x0 + (x1 - x0) * place, y0 + (y1 - y0) * place
            of_tokens, of_codes = masked_cross_entropy(denoiser, *alphas(t_x, t_y))
            if x1 > x0:
                parts[0] += weight * (x1 - x0) / t_x * of_tokens
            if y1 > y0:
                parts[1] += weight * (y1 - y0) * 2 / t_y * of_codes
    return parts


def estimate(denoiser, path, repeats=300, num_samples=16):
    tokens = SEQUENCES.repeat(repeats, 1)
    random = RowGenerator.from_seed(0, torch.arange(len(tokens)))
    walked = {"path": path} if isinstance(path, str | TimePath) else {"run": path}
    everywhere = torch.ones_like(tokens, dtype=torch.bool)
    result = nelbo(denoiser, tokens, everywhere, num_samples=num_samples, random=random, **walked)
    return [
        (x.view(repeats, -1).mean(0), x.view(repeats, -1).std(0) / math.sqrt(repeats))
        for x in (result.token_nats, result.latent_nats)
    ]


def assert_agree(estimates, exact):
    for (mean, error), expected in zip(estimates, exact, strict=True):
        assert ((mean - expected).abs() <= 5 * error + 1e-6).all()  # codes are scored in float32


@pytest.fixture(scope="module", params=[False, True], ids=["tokens", "tokens and codes"])
def denoiser(request):
    return ExactDenoiser(random_table(), with_codes=request.param)


@pytest.fixture(scope="module")
def rival():
    """Exact for another table than the data's."""
    return ExactDenoiser(random_table(0.5), with_codes=True)


# --- quadrature, enumeration and Monte Carlo agree ---


@pytest.mark.parametrize("path", PATHS)
def test_by_quadrature_the_bound_of_the_exact_denoiser_is_the_negative_log_likelihood(path, denoiser):
    of_tokens, of_codes = quadrature(denoiser, PATHS[path])
    torch.testing.assert_close(of_tokens + of_codes, -denoiser.log_likelihood(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("path", PATHS)
def test_estimate_and_quadrature_agree_within_the_stated_error(path, denoiser):
    assert_agree(estimate(denoiser, PATHS[path]), quadrature(denoiser, PATHS[path]))


@pytest.mark.parametrize("spacing", ["uniform", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("run", RUNS)
def test_estimate_and_enumeration_of_a_run_agree_within_the_stated_error(run, steps, spacing, denoiser):
    points = RUNS[run](steps, spacing)
    assert_agree(estimate(denoiser, points), enumerated_run(denoiser, points))


# --- order ---


@pytest.mark.parametrize("run", RUNS)
def test_the_bound_of_a_run_is_above_the_integral_and_falls_towards_it(run, rival):
    table = random_table()
    integral = sum(float((table * part).sum()) for part in quadrature(rival, PATHS[run]))
    sums = [
        sum(float((table * part).sum()) for part in enumerated_run(rival, RUNS[run](n, "uniform")))
        for n in (1, 2, 4, 8, 32)
    ]
    assert all(a > b for a, b in itertools.pairwise(sums)) and sums[-1] > integral
    assert (sums[4] - integral) < 0.3 * (sums[3] - integral), "to first order in the length of a step"


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("steps", [1, 3, 8])
def test_no_bound_is_below_the_entropy(run, steps, denoiser):
    total = sum(enumerated_run(denoiser, RUNS[run](steps, "uniform")))
    table = denoiser.table
    assert float((table * total).sum()) >= -float((table * table.log()).sum()) - 1e-12


@pytest.mark.parametrize("spacing", ["uniform", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 3, 8])
def test_the_bound_of_a_run_bounds_the_likelihood_of_each_text_under_what_the_run_writes(steps, spacing):
    denoiser = ExactDenoiser(random_table(), with_codes=False)
    total, _ = enumerated_run(denoiser, JOINT.grid([steps], spacing))
    written = ExactWorld(denoiser.table.view(V, V, V), S).run_law(joint_points(steps, spacing))
    gap = total + written.log()
    assert (gap > -1e-12).all()
    assert gap.max() < 1e-12 if steps == 1 else gap.max() > 1e-3, "in one step there is one way only"


def test_a_run_of_one_joint_step_pays_all_correlations(denoiser):
    """The bound is the sum of the marginals' entropies: of tokens and codes, each drawn alone."""
    table = denoiser.table
    total = sum(enumerated_run(denoiser, JOINT.grid([1])))
    columns = SEQUENCES if denoiser.latent_channel is None else torch.cat([SEQUENCES, denoiser.codes], dim=1)
    entropy = 0.0
    for column in columns.unbind(1):
        marginal = torch.zeros(3, dtype=torch.float64).index_add(0, column, table)
        entropy -= float((marginal * marginal.clamp(min=1e-300).log()).sum())
    assert float((table * total).sum()) == pytest.approx(entropy, rel=1e-12)


# --- the estimate ---


def test_a_single_point_per_example_is_unbiased(denoiser):
    assert_agree(estimate(denoiser, "joint", repeats=4000, num_samples=1), quadrature(denoiser, JOINT))


def test_points_spread_evenly_err_less_than_independent_ones(denoiser):
    repeats, points = 400, 16
    tokens = SEQUENCES.repeat(repeats, 1)
    everywhere = torch.ones_like(tokens, dtype=torch.bool)

    def variance(num_samples, seeds):
        totals = [
            nelbo(
                denoiser,
                tokens,
                everywhere,
                None,
                "joint",
                num_samples,
                RowGenerator.from_seed(seed, torch.arange(len(tokens))),
            ).total_nats
            for seed in range(seeds)
        ]
        return float(torch.stack(totals).mean(0).view(repeats, -1).var(0).mean())

    spread, apart = variance(points, 1), variance(1, points)
    assert spread < 0.9 * apart, (spread, apart)


def test_points_that_are_no_run_are_refused(denoiser):
    everywhere = torch.ones_like(SEQUENCES, dtype=torch.bool)
    with pytest.raises(ValueError, match="is not accepted: give corners"):
        nelbo(denoiser, SEQUENCES, everywhere, run=[(0.5, 0.5), (0.0, 0.0)])


def test_bits_per_character_are_bits_over_the_characters():
    denoiser = ExactDenoiser(random_table())
    result = nelbo(denoiser, SEQUENCES, torch.ones_like(SEQUENCES, dtype=torch.bool))
    characters = 7 * len(SEQUENCES)
    assert result.bits_per_character(characters) == pytest.approx(result.bits_per_token * S / 7)
