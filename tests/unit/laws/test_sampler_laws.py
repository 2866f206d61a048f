"""Samples of a scheduler in N steps have exactly the law given by enumeration of its Markov chain."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from helpers.exact_world import ExactWorld, joint_points, p_value, sample_counts, sequential_points

from ladd_hf import LaddJointScheduler, LaddSequentialScheduler

ALMOST_NEVER = 1e-4  # p-values below this are failures; the seeds are fixed
SEQUENTIAL_STEPS = {2: (1, 1), 3: (2, 1), 8: (4, 4)}  # half of the steps for the codes, rounded up

# name: tokens' alphabet and number, codes' alphabet and number
WORLDS = {
    "one code": ExactWorld.at_random(vocab=2, length=3, codebook=2, codes=1),
    "two codes": ExactWorld.at_random(vocab=3, length=2, codebook=2, codes=2, seed=1),
    "four tokens": ExactWorld.at_random(vocab=2, length=4, codebook=3, codes=1, seed=2),
}


def mixture_of_products():
    """p(x, c) = p(c) prod_i p(x_i | c): given the code tokens are independent, without it they are not."""
    ones = torch.tensor([[0.9, 0.8, 0.15], [0.2, 0.05, 0.7]]).double()  # p(x_i = 1 | c)
    laws = torch.stack([1 - ones, ones], dim=-1)  # (codes, places, symbols)
    table = torch.einsum("c,cx,cy,cz->xyzc", torch.tensor([0.35, 0.65]).double(), laws[:, 0], laws[:, 1], laws[:, 2])
    return ExactWorld(table, 3)


def product_of_marginals(world):
    table = world.without_codes().table
    law = torch.ones(())
    for place in range(world.length):
        law = torch.outer(law.flatten(), table.sum([p for p in range(world.length) if p != place])).flatten()
    return law


def divergence(p, q):
    return float((p * (p / q).log()).sum())


# --- sampled and enumerated laws agree ---


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("spacing", ["uniform", "cosine"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 8])
def test_joint_runs_have_the_enumerated_law(name, spacing, num_steps):
    world = WORLDS[name]
    counts = sample_counts(world, LaddJointScheduler(timestep_spacing=spacing), num_steps)
    assert p_value(counts, world.run_law(joint_points(num_steps, spacing))) > ALMOST_NEVER


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("spacing", ["uniform", "cosine"])
@pytest.mark.parametrize("num_steps", SEQUENTIAL_STEPS)
def test_sequential_runs_have_the_enumerated_law(name, spacing, num_steps):
    world = WORLDS[name]
    counts = sample_counts(world, LaddSequentialScheduler(timestep_spacing=spacing), num_steps)
    law = world.run_law(sequential_points(*SEQUENTIAL_STEPS[num_steps], spacing))
    assert p_value(counts, law) > ALMOST_NEVER


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("spacing", ["uniform", "cosine"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 8])
def test_mdlm_runs_have_the_enumerated_law(name, spacing, num_steps):
    world = WORLDS[name].without_codes()
    counts = sample_counts(world, LaddJointScheduler(timestep_spacing=spacing), num_steps)
    assert p_value(counts, world.run_law(joint_points(num_steps, spacing))) > ALMOST_NEVER


# --- the same test has the power to reject what is nearly right ---


class SwappedAlphas(LaddJointScheduler):
    """Reveals with the probability of staying masked."""

    def plan_step(self, timestep, sample, *given):
        plan = super().plan_step(timestep, sample, *given)
        if int(timestep) == len(self.timesteps) - 1:
            return plan
        return replace(plan, unmask=(sample == self._tokens.mask_id) & ~plan.unmask)


class OneStepLate(LaddJointScheduler):
    """Draws by the times of the step before."""

    def _planned_token_steps(self):
        plan = super()._planned_token_steps()
        return [plan[0], *plan[:-2], plan[-1]]


@pytest.mark.parametrize("wrong", [SwappedAlphas, OneStepLate])
def test_a_sampler_with_wrong_probabilities_of_revealing_is_rejected(wrong):
    world = WORLDS["four tokens"].without_codes()
    assert p_value(sample_counts(world, wrong(), 4, count=100_000), world.run_law(joint_points(4))) < ALMOST_NEVER


def test_a_sampler_that_does_not_look_at_the_codes_is_rejected():
    world = WORLDS["one code"]

    def blind(tokens, latents, **kwargs):
        return world(tokens, torch.full_like(latents, world.codebook), **kwargs)

    counts = sample_counts(world, LaddSequentialScheduler(), 3, denoiser=blind)
    assert p_value(counts, world.run_law(sequential_points(2, 1))) < ALMOST_NEVER


def test_a_sampler_of_a_lower_temperature_is_rejected():
    world = WORLDS["two codes"]

    def cool(tokens, latents, **kwargs):
        output = world(tokens, latents, **kwargs)
        output.logits = output.logits / 0.9
        return output

    counts = sample_counts(world, LaddJointScheduler(), 2, denoiser=cool)
    assert p_value(counts, world.run_law(joint_points(2))) < ALMOST_NEVER


def test_neighbouring_numbers_of_steps_and_other_grids_are_told_apart():
    world = WORLDS["four tokens"]
    counts = sample_counts(world, LaddJointScheduler(), 2)
    assert p_value(counts, world.run_law(joint_points(3))) < ALMOST_NEVER
    assert p_value(counts, world.run_law(joint_points(2, "cosine"))) < ALMOST_NEVER
    assert p_value(counts, world.run_law(sequential_points(1, 1))) < ALMOST_NEVER


# --- what latents can and what no latents cannot ---


def test_one_code_step_and_one_token_step_reproduce_a_mixture_of_products_exactly():
    world = mixture_of_products()
    torch.testing.assert_close(world.run_law(sequential_points(1, 1)), world.token_law(), rtol=0, atol=1e-14)
    counts = sample_counts(world, LaddSequentialScheduler(), 2)
    assert p_value(counts, world.token_law()) > ALMOST_NEVER


def test_mdlm_in_one_step_writes_the_product_of_marginals_and_misses_the_total_correlation():
    world = mixture_of_products()
    marginals = product_of_marginals(world)
    law = world.without_codes().run_law(joint_points(1))
    torch.testing.assert_close(law, marginals, rtol=0, atol=1e-14)
    truth = world.token_law()
    entropies = -(truth * truth.log()).sum() + (marginals * marginals.log()).sum()  # minus the total correlation
    assert divergence(truth, law) == pytest.approx(-float(entropies), rel=1e-12)
    assert divergence(truth, law) > 0.2
    counts = sample_counts(world.without_codes(), LaddJointScheduler(), 1)
    assert p_value(counts, marginals) > ALMOST_NEVER
    assert p_value(counts, truth) < ALMOST_NEVER


def test_one_joint_step_gains_nothing_from_codes_that_are_written_with_the_tokens():
    world = mixture_of_products()
    assert p_value(sample_counts(world, LaddJointScheduler(), 1), product_of_marginals(world)) > ALMOST_NEVER


@pytest.mark.parametrize("name", WORLDS)
def test_divergence_falls_towards_zero_with_the_number_of_steps(name):
    world = WORLDS[name]
    truth, bare = world.token_law(), world.without_codes()
    for run in (
        lambda n: world.run_law(joint_points(n)),
        lambda n: world.run_law(sequential_points(n, n)),
        lambda n: bare.run_law(joint_points(n)),
    ):
        errors = [divergence(truth, run(n)) for n in (1, 4, 16, 64)]
        assert errors[0] > errors[1] > errors[2] > errors[3] > -1e-12
        assert errors[3] < 0.1 * errors[0]


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("scheduler_class", [LaddJointScheduler, LaddSequentialScheduler])
def test_tokens_of_a_given_code_are_drawn_from_their_law_given_it(scheduler_class, code):
    world = mixture_of_products()
    laws = world.table.flatten(0, 2) / world.table.sum((0, 1, 2))  # (texts, codes)
    counts = sample_counts(world, scheduler_class(), 3, latents=torch.full((20_000, 1), code))
    assert p_value(counts, laws[:, code]) > ALMOST_NEVER
    assert p_value(counts, laws[:, 1 - code]) < ALMOST_NEVER


# --- the order of unmasking and predicting ---


@pytest.mark.parametrize("num_steps", [2, 3])
def test_choosing_positions_after_the_logits_gives_the_same_law(num_steps):
    """Here logits are computed everywhere, tokens drawn everywhere, and only then places are chosen."""
    world = WORLDS["four tokens"].without_codes()
    count, generator = 20_000, torch.Generator().manual_seed(0)
    tokens = torch.full((count, world.length), world.vocab)
    for (t, _), (s, _) in zip(joint_points(num_steps), joint_points(num_steps)[1:], strict=False):
        law, _ = world.predictions(tokens)
        drawn = law.flatten(0, 1).multinomial(1, generator=generator).view(count, -1)
        reveal = torch.rand(tokens.shape, generator=generator, dtype=torch.float64) < (t - s) / t
        tokens = torch.where((tokens == world.vocab) & reveal, drawn, tokens)
    places = world.vocab ** torch.arange(world.length - 1, -1, -1)
    after = (tokens * places).sum(1).bincount(minlength=world.vocab**world.length)
    law = world.run_law(joint_points(num_steps))
    assert p_value(after, law) > ALMOST_NEVER
    assert p_value(sample_counts(world, LaddJointScheduler(), num_steps), law) > ALMOST_NEVER


def test_a_run_of_as_many_steps_as_tokens_is_not_exact_and_an_order_of_single_tokens_is():
    """Ancestral steps reveal several tokens at once by chance; one by one, in any order, nothing is lost."""
    world = WORLDS["four tokens"].without_codes()
    truth = world.token_law()
    assert divergence(truth, world.run_law(joint_points(world.length))) > 1e-3
    tokens, generator = torch.full((20_000, 4), world.vocab), torch.Generator().manual_seed(0)
    for place in (2, 0, 3, 1):
        law, _ = world.predictions(tokens)
        tokens[:, place] = law[:, place].multinomial(1, generator=generator)[:, 0]
    counts = (tokens * torch.tensor([8, 4, 2, 1])).sum(1).bincount(minlength=16)
    assert p_value(counts, truth) > ALMOST_NEVER


def test_math_of_the_worlds_themselves():
    for world in WORLDS.values():
        assert math.isclose(float(world.run_law(joint_points(3)).sum()), 1, rel_tol=1e-12)
        everything_hidden = torch.full((1, world.length), world.vocab)
        law, _ = world.predictions(everything_hidden, torch.full((1, world.codes), world.codebook))
        table = world.without_codes().table
        marginal = table.sum([p for p in range(world.length) if p != 1])
        torch.testing.assert_close(law[0, 1], marginal)
