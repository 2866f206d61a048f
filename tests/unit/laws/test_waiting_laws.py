"""Runs whose tokens wait for their codes have the enumerated law, nearer to the data's where codes say much."""

from __future__ import annotations

import pytest
import torch
from helpers.exact_world import ExactWorld, joint_points, p_value, sample_counts, sequential_points
from helpers.waiting_runs import HOLDS, chunked, waiting_law

from ladd_hf import LaddJointScheduler, LaddScheduler, LaddSequentialScheduler

ALMOST_NEVER = 1e-4  # p-values below this are failures; the seeds are fixed
WAITINGS = ("while_written", "until_known")
AHEAD = [[1, 1], [0.4, 0], [0, 0]]  # codes are clean before the tokens
AHEAD_POINTS = [(1, 1), (0.7, 0.5), (0.4, 0.0), (0.0, 0.0)]
WORLDS = {
    "two chunks": chunked(ExactWorld.at_random(vocab=2, length=4, codebook=2, codes=2, seed=1)),
    "uneven chunks": chunked(ExactWorld.at_random(vocab=2, length=3, codebook=2, codes=2, seed=2)),
    "global codes": ExactWorld.at_random(vocab=2, length=3, codebook=2, codes=2, seed=3),
}


def telling(seed, doubt=1e-3):
    """A chunked world of correlated codes that tell their two tokens, but for some doubt."""
    generator = torch.Generator().manual_seed(seed)
    of_codes = torch.randn(3, 3, generator=generator).double().exp()
    told = torch.full((3, 2, 2), doubt).double()
    told[0, 0, 0] = told[1, 1, 1] = told[2, 0, 1] = 1.0
    return chunked(ExactWorld(torch.einsum("cd,cab,dxy->abxycd", of_codes, told, told), 4))


def divergence(p, q):
    return float((p * (p / q).log()).sum())


# --- sampled and enumerated laws agree ---


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("waiting", WAITINGS)
@pytest.mark.parametrize("num_steps", [1, 2, 3, 6])
def test_joint_runs_with_waiting_have_the_enumerated_law(name, waiting, num_steps):
    world, points = WORLDS[name], joint_points(num_steps)
    counts = sample_counts(world, LaddJointScheduler(token_waiting=waiting), num_steps)
    assert p_value(counts, waiting_law(world, points, waiting)) > ALMOST_NEVER
    if num_steps in (2, 3):
        assert p_value(counts, waiting_law(world, points, "none")) < ALMOST_NEVER
        others = 100 * torch.roll(waiting_law(world, points, waiting), 1)
        assert p_value(counts, others / others.sum()) < ALMOST_NEVER


@pytest.mark.parametrize("waiting", WAITINGS)
def test_the_two_laws_of_waiting_and_the_two_kinds_of_codes_are_told_apart(waiting):
    world, points = WORLDS["two chunks"], joint_points(4)
    counts = sample_counts(world, LaddJointScheduler(token_waiting=waiting), 4, count=100_000)
    other = WAITINGS[1 - WAITINGS.index(waiting)]
    assert p_value(counts, waiting_law(world, points, waiting)) > ALMOST_NEVER
    assert p_value(counts, waiting_law(world, points, other)) < ALMOST_NEVER
    not_chunked = ExactWorld(world.table, world.length)
    assert p_value(counts, waiting_law(not_chunked, points, waiting)) < ALMOST_NEVER


@pytest.mark.parametrize("waiting", WAITINGS)
def test_runs_along_any_path_have_the_enumerated_law(waiting):
    world, scheduler = WORLDS["two chunks"], LaddScheduler(path=AHEAD, steps=[2, 1], token_waiting=waiting)
    assert p_value(sample_counts(world, scheduler, 3), waiting_law(world, AHEAD_POINTS, waiting)) > ALMOST_NEVER


@pytest.mark.parametrize("waiting", WAITINGS)
def test_with_codes_first_or_given_nothing_waits(waiting):
    world = WORLDS["two chunks"]
    points = sequential_points(2, 2)
    torch.testing.assert_close(waiting_law(world, points, waiting), world.run_law(points))
    plain, late = LaddSequentialScheduler(), LaddSequentialScheduler(token_waiting=waiting)
    assert torch.equal(sample_counts(world, plain, 4), sample_counts(world, late, 4))
    given = torch.tensor([[1, 0]]).expand(20_000, -1)
    runs = [LaddJointScheduler(token_waiting=one) for one in ("none", waiting)]
    assert torch.equal(*(sample_counts(world, one, 3, latents=given) for one in runs))


def test_the_enumeration_without_waiting_is_that_of_the_worlds():
    for world in WORLDS.values():
        for points in (joint_points(3), AHEAD_POINTS):
            torch.testing.assert_close(waiting_law(world, points, "none"), world.run_law(points))
            assert all(float(waiting_law(world, points, one).sum()) == pytest.approx(1) for one in HOLDS)


# --- what waiting is good for ---


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("waiting", WAITINGS)
def test_where_codes_tell_the_tokens_waiting_is_never_further_from_the_data(seed, waiting):
    world = telling(seed)
    truth = world.token_law()
    for points in (*(joint_points(n) for n in (1, 2, 3, 5)), AHEAD_POINTS):
        plain, late = (divergence(truth, waiting_law(world, points, one)) for one in ("none", waiting))
        assert late <= plain + 1e-12
        if len(points) > 2:
            assert late < 0.9 * plain


@pytest.mark.parametrize("seed", range(4))
def test_where_codes_tell_the_tokens_and_are_ahead_of_them_only_codes_contradict_each_other(seed):
    """Every token is drawn given its code, so that the divergence is that of the codes' own draws."""
    world, sure = telling(seed), telling(seed, doubt=1e-9)
    codes = ExactWorld(world.table.sum((0, 1, 2, 3)), 2)
    # as tokens of a world of their own; their quadratic schedule from 1 to 0.5 to 0
    of_codes = codes.run_law([(1, 0), (0.25, 0), (0, 0)])
    expected = divergence(codes.token_law(), of_codes)
    found = divergence(sure.token_law(), waiting_law(sure, AHEAD_POINTS, "until_known"))
    assert found == pytest.approx(expected, abs=1e-6) and expected > 1e-3


def test_one_code_ahead_of_its_tokens_makes_a_mixture_of_products_exact_in_two_evaluations():
    ones = torch.tensor([[0.9, 0.8, 0.15], [0.2, 0.05, 0.7]]).double()  # p(x_i = 1 | c)
    laws = torch.stack([1 - ones, ones], dim=-1)
    table = torch.einsum("c,cx,cy,cz->xyzc", torch.tensor([0.35, 0.65]).double(), laws[:, 0], laws[:, 1], laws[:, 2])
    world = ExactWorld(table, 3)
    for waiting in WAITINGS:
        law = waiting_law(world, [(1, 1), (0.4, 0), (0, 0)], waiting)
        torch.testing.assert_close(law, world.token_law(), rtol=0, atol=1e-14)
        scheduler = LaddScheduler(path=AHEAD, token_waiting=waiting)
        assert p_value(sample_counts(world, scheduler, 2), world.token_law()) > ALMOST_NEVER
    assert p_value(sample_counts(world, LaddScheduler(path=AHEAD), 2), world.token_law()) < ALMOST_NEVER
