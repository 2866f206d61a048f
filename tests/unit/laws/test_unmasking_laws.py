"""Other ways to reveal tokens than the ancestral law have exactly the laws that they claim."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from helpers.exact_world import ExactWorld, joint_points, p_value, sample_counts, sequential_points

from ladd_hf import LaddJointScheduler, LaddSequentialScheduler

ALMOST_NEVER = 1e-4  # p-values below this are failures; the seeds are fixed
TEXTS = ExactWorld.at_random(vocab=2, length=4, codebook=3, codes=1, seed=2)
BARE = TEXTS.without_codes()


def divergence(p, q):
    return float((p * (p / q).log()).sum())


def masked(state):
    return [place for place, token in enumerate(state) if token == BARE.vocab]


# --- first hitting ---


def evenly(steps):
    """Chooses random places, evenly many a step, of the texts of `BARE`."""
    sizes, left = [], BARE.length
    for remaining in range(steps, 0, -1):
        sizes.append(math.ceil(left / remaining))
        left -= sizes[-1]
    after = dict(zip(itertools.accumulate(sizes, initial=0), sizes, strict=False))

    def choose(state, predictions):
        places = masked(state)
        sets = list(itertools.combinations(places, after[BARE.length - len(places)]))
        return [(1 / len(sets), chosen) for chosen in sets]

    return choose


def test_first_hitting_with_as_many_steps_as_tokens_is_exact_and_ancestral_steps_are_not():
    counts = sample_counts(BARE, LaddJointScheduler(unmasking="first_hitting"), BARE.length)
    assert p_value(counts, BARE.token_law()) > ALMOST_NEVER
    ancestral = sample_counts(BARE, LaddJointScheduler(), BARE.length)
    assert p_value(ancestral, BARE.token_law()) < ALMOST_NEVER


@pytest.mark.parametrize("num_steps", [1, 2, 3, 4, 9])
def test_first_hitting_has_the_law_of_evenly_many_random_places_a_step(num_steps):
    law = BARE.ordered_law(evenly(num_steps))
    counts = sample_counts(BARE, LaddJointScheduler(unmasking="first_hitting"), num_steps)
    assert p_value(counts, law) > ALMOST_NEVER
    if num_steps in (2, 3):
        assert p_value(counts, BARE.run_law(joint_points(num_steps))) < ALMOST_NEVER


def test_codes_first_and_then_one_token_at_a_time_is_exact():
    counts = sample_counts(TEXTS, LaddSequentialScheduler(max_latent_steps=1, unmasking="first_hitting"), 5)
    assert p_value(counts, TEXTS.token_law()) > ALMOST_NEVER


def test_first_hitting_in_one_step_is_the_ancestral_law_in_one():
    torch.testing.assert_close(BARE.ordered_law(evenly(1)), BARE.run_law(joint_points(1)))


# --- the surest tokens first ---


CONFIDENCES = {
    "top_probability": lambda p: p.max(),
    "margin": lambda p: p.sort().values[-1] - p.sort().values[-2],
    "entropy": lambda p: (p * p.log()).sum(),
}


def surest(confidence, sizes):
    """Chooses the places of largest confidence, so many a step, the first of equal ones."""
    after = dict(zip(itertools.accumulate(sizes, initial=0), sizes, strict=False))

    def choose(state, predictions):
        places = masked(state)
        order = sorted(places, key=lambda place: -float(confidence(predictions[place])))
        return [(1.0, tuple(order[: after[BARE.length - len(places)]]))]

    return choose


@pytest.mark.parametrize("name", CONFIDENCES)
@pytest.mark.parametrize("sizes", [[4], [2, 2], [2, 1, 1], [1, 1, 1, 1]], ids=str)
def test_the_surest_tokens_come_first_as_many_as_the_schedule_reveals_on_average(name, sizes):
    counts = sample_counts(BARE, LaddJointScheduler(unmasking=name), len(sizes))
    assert p_value(counts, BARE.ordered_law(surest(CONFIDENCES[name], sizes))) > ALMOST_NEVER
    if len(sizes) == 2:
        least = BARE.ordered_law(surest(lambda p: -CONFIDENCES[name](p), sizes))
        assert p_value(counts, least) < ALMOST_NEVER


@pytest.mark.parametrize("spacing", ["uniform", "cosine"])
@pytest.mark.parametrize("num_steps", [3, 8, 24])
def test_by_confidence_as_many_are_masked_after_each_step_as_on_average_rounded_down(num_steps, spacing):
    world = ExactWorld.at_random(vocab=2, length=12, codebook=2, codes=0)
    scheduler = LaddJointScheduler(timestep_spacing=spacing, unmasking="entropy").for_model(world.config)
    scheduler.set_timesteps(num_steps)
    tokens = torch.full((1, 12), world.vocab)
    tokens[0, :2] = 1  # a prompt
    editable = tokens == world.vocab
    for step in range(num_steps):
        plan = scheduler.plan_step(step, tokens, generator=torch.Generator(), editable_mask=editable)
        tokens, _ = scheduler.step(world(tokens), step, tokens, plan=plan, return_dict=False)
        left = joint_points(num_steps, spacing)[step + 1][0]
        assert int((tokens == world.vocab).sum()) == math.floor(10 * left + 1e-9)


def test_three_measures_of_confidence_are_three_orders():
    likeliest, most_ahead, least_spread = [0.6, 0.39, 0.01], [0.58, 0.21, 0.21], [0.52, 0.479, 0.001]
    places = [torch.tensor(p).double() for p in ([0.34, 0.33, 0.33], likeliest, most_ahead, least_spread)]
    world = ExactWorld(torch.einsum("a,b,c,d->abcd", *places), 4)
    for name, place in {"top_probability": 1, "margin": 2, "entropy": 3}.items():
        scheduler = LaddJointScheduler(unmasking=name).for_model(world.config)
        scheduler.set_timesteps(4)
        tokens = torch.full((1, 4), 3)
        after, _ = scheduler.step(world(tokens), 0, tokens, generator=torch.Generator(), return_dict=False)
        assert [p for p in range(4) if after[0, p] != 3] == [place]


@pytest.mark.parametrize("name", CONFIDENCES)
def test_with_an_exact_denoiser_one_token_at_a_time_is_exact_in_any_order(name):
    law = BARE.ordered_law(surest(CONFIDENCES[name], [1] * 4))
    torch.testing.assert_close(law, BARE.token_law(), rtol=1e-10, atol=1e-12)


def test_with_a_denoiser_that_errs_the_surest_first_write_less_varied_texts():
    """The denoiser here sees no other token, and so takes places for independent, but for one that it is sure of."""
    sure = torch.tensor([[0.5, 0.5], [0.99, 0.01], [0.5, 0.5], [0.5, 0.5]]).double()

    def choose(state, predictions):
        return [(1.0, (masked(state)[0],))]

    class Errs(ExactWorld):
        def predictions(self, tokens, latents=None):
            spread = sure.clone()
            spread[0] = torch.tensor([0.9, 0.1]) if int(tokens[0, 1]) != self.vocab else spread[0]
            return spread[None].expand(len(tokens), -1, -1), None

    world = Errs(BARE.table, 4)
    left_to_right = world.ordered_law(choose)
    surest_first = world.ordered_law(surest(CONFIDENCES["top_probability"], [1] * 4))

    def entropy(p):
        return float(torch.special.entr(p).sum())

    assert entropy(surest_first) < entropy(left_to_right) - 0.1


# --- remasking ---


def largest(alpha_t, alpha_s):
    return min(1.0, (1 - alpha_s) / alpha_t) if alpha_t > 0 else 1.0


RATES = {
    ("cap", 0.2): lambda a, b: min(0.2, largest(a, b)),
    ("cap", 1.0): largest,
    ("rescale", 0.5): lambda a, b: 0.5 * largest(a, b),
}


@pytest.mark.parametrize(("kind", "rate"), RATES)
@pytest.mark.parametrize("num_steps", [1, 2, 3, 8])
def test_remasking_runs_have_the_enumerated_law(kind, rate, num_steps):
    law = BARE.run_law(joint_points(num_steps), remask=RATES[kind, rate])
    scheduler = LaddJointScheduler(remasking={"name": kind, "rate": rate})
    counts = sample_counts(BARE, scheduler, num_steps)
    assert p_value(counts, law) > ALMOST_NEVER
    if num_steps == 3 and rate == 1.0:
        assert p_value(counts, BARE.run_law(joint_points(3))) < ALMOST_NEVER


@pytest.mark.parametrize("num_steps", [3, 8])
def test_remasking_along_the_sequential_path_has_the_enumerated_law(num_steps):
    scheduler = LaddSequentialScheduler(max_latent_steps=1, remasking={"name": "rescale", "rate": 0.5})
    law = TEXTS.run_law(sequential_points(1, num_steps - 1), remask=RATES["rescale", 0.5])
    assert p_value(sample_counts(TEXTS, scheduler, num_steps), law) > ALMOST_NEVER


def test_remasking_keeps_the_share_of_masked_tokens():
    scheduler = LaddJointScheduler(remasking={"name": "cap", "rate": 0.3}).for_model(BARE.config)
    scheduler.set_timesteps(10)
    count = 20_000
    tokens, remasked = torch.full((count, 4), BARE.vocab), 0
    generator = torch.Generator().manual_seed(0)
    for step in range(10):
        before = tokens
        tokens, _ = scheduler.step(BARE(tokens), step, tokens, generator=generator, return_dict=False)
        share, expected = float((tokens == BARE.vocab).double().mean()), 1 - (step + 1) / 10
        assert share == pytest.approx(expected, abs=5 * math.sqrt(max(expected * (1 - expected), 1e-9) / (4 * count)))
        remasked += int(((before != BARE.vocab) & (tokens == BARE.vocab)).sum())
    assert remasked > count


def test_the_law_of_remasking_approaches_the_datas_where_the_rate_falls_with_the_number_of_steps():
    def error(steps, rate):
        law = BARE.run_law(joint_points(steps), remask=lambda a, b: min(rate, largest(a, b)))
        return divergence(BARE.token_law(), law)

    errors = [error(n, 1 / n) for n in (2, 8, 32)]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert error(32, 0.2) > 3 * errors[2], "a rate that stays rewrites many tokens at once up to the end"


@pytest.mark.parametrize("remasking", ["none", {"name": "rescale", "rate": 1.0}], ids=["none", "rescale"])
def test_remasking_writes_visible_tokens_again_but_for_those_to_keep(remasking):
    scheduler = LaddJointScheduler(remasking=remasking).for_model(BARE.config)
    scheduler.set_timesteps(12)
    generator = torch.Generator().manual_seed(0)
    tokens = torch.tensor([[0, 1, 2, 2]]).repeat(500, 1)
    editable = torch.tensor([[False, True, True, True]]).expand(500, -1)
    for step in range(12):
        plan = scheduler.plan_step(step, tokens, None, generator, editable)
        tokens, _ = scheduler.step(BARE(tokens), step, tokens, plan=plan, generator=generator, return_dict=False)
    assert (tokens[:, 0] == 0).all() and (tokens < BARE.vocab).all()
    assert bool((tokens[:, 1] == 1).all()) == (remasking == "none")


# --- latents that start between noise and clean ---


@pytest.mark.parametrize("time", [0.3, 0.8])
def test_tokens_of_a_code_noised_again_are_of_that_code_or_of_a_new_one(time):
    """With one code and one step for each channel: p(x | c) where the code stayed visible, p(x) where it did not."""
    given = 2
    scheduler = LaddSequentialScheduler().for_model(TEXTS.config)
    codes = scheduler.add_latent_noise(
        torch.full((20_000, 1), given), torch.tensor(time), torch.Generator().manual_seed(1)
    )
    start = torch.zeros(4).double()
    start[given], start[-1] = 1 - time**2, time**2
    points = [(1.0, time), (1.0, 0.0), (0.0, 0.0)]
    law = TEXTS.run_law(points, start=start)
    one_step = TEXTS.run_law([(1.0, 0.0), (0.0, 0.0)], start=torch.eye(4).double()[given])
    expected = (1 - time**2) * one_step + time**2 * TEXTS.run_law(sequential_points(1, 1))
    torch.testing.assert_close(law, expected)
    counts = sample_counts(TEXTS, scheduler, 2, latents=codes, latent_time=time)
    assert p_value(counts, law) > ALMOST_NEVER
    assert p_value(counts, one_step) < ALMOST_NEVER


@pytest.mark.parametrize("num_steps", [1, 3])
def test_a_joint_run_from_codes_with_noise_has_the_enumerated_law(num_steps):
    time, given = 0.6, 1
    scheduler = LaddJointScheduler().for_model(TEXTS.config)
    codes = scheduler.add_latent_noise(
        torch.full((20_000, 1), given), torch.tensor(time), torch.Generator().manual_seed(1)
    )
    start = torch.zeros(4).double()
    start[given], start[-1] = 1 - time**2, time**2
    points = [(left, time * left) for left in (1 - step / num_steps for step in range(num_steps))] + [(0.0, 0.0)]
    counts = sample_counts(TEXTS, scheduler, num_steps, seed=1, latents=codes, latent_time=time)
    assert p_value(counts, TEXTS.run_law(points, start=start)) > ALMOST_NEVER
