"""Unmasking of as many tokens as the denoiser is sure of has exactly the laws that it claims."""

from __future__ import annotations

import pytest
import torch
from helpers.exact_world import ExactWorld, joint_points, p_value, sample_counts

from ladd_hf import LaddJointScheduler

ALMOST_NEVER = 1e-4  # p-values below this are failures; the seeds are fixed
WORLD = ExactWorld.at_random(vocab=2, length=4, codes=0, sharpness=1.0, seed=3)


def masked(state):
    return [place for place, token in enumerate(state) if token == WORLD.vocab]


def above(threshold):
    """Chooses the places whose likeliest token is above the threshold, or the surest one."""

    def choose(state, predictions):
        sure = {place: float(predictions[place].max()) for place in masked(state)}
        chosen = [place for place, probability in sure.items() if probability > threshold]
        return [(1.0, tuple(chosen or [max(sure, key=sure.get)]))]

    return choose


def within(gamma):
    """Chooses the places of least entropy, as many as keep their sum without the largest at gamma."""

    def choose(state, predictions):
        entropy = {place: float(torch.special.entr(predictions[place]).sum()) for place in masked(state)}
        chosen, spent = [], 0.0
        for place in sorted(entropy, key=entropy.get):
            if spent > gamma:
                break
            chosen.append(place)
            spent += entropy[place]
        return [(1.0, tuple(chosen))]

    return choose


def divergence(p, q):
    return float((p * (p / q).log()).sum())


@pytest.mark.parametrize("threshold", [0.6, 0.75, 0.9])
def test_a_threshold_reveals_all_tokens_above_it_and_at_least_one(threshold):
    unmasking = {"name": "threshold", "threshold": threshold}
    counts = sample_counts(WORLD, LaddJointScheduler(unmasking=unmasking), 4)
    assert p_value(counts, WORLD.ordered_law(above(threshold))) > ALMOST_NEVER
    assert p_value(counts, WORLD.run_law(joint_points(1))) < ALMOST_NEVER, "and not all at once"


@pytest.mark.parametrize("gamma", [0.2, 0.5, 1.0])
def test_an_entropy_bound_reveals_the_surest_tokens_up_to_it(gamma):
    unmasking = {"name": "entropy_bound", "gamma": gamma}
    counts = sample_counts(WORLD, LaddJointScheduler(unmasking=unmasking), 4)
    assert p_value(counts, WORLD.ordered_law(within(gamma))) > ALMOST_NEVER
    assert p_value(counts, WORLD.run_law(joint_points(1))) < ALMOST_NEVER, "and not all at once"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("gamma", [0.05, 0.3, 0.6])
def test_a_step_within_the_bound_costs_at_most_the_bound(gamma, seed):
    """By the chain rule the divergence is the sum of those of the steps, of which the one of a single token is none."""
    world = ExactWorld.at_random(vocab=2, length=4, codes=0, seed=seed)
    lost = divergence(world.token_law(), world.ordered_law(within(gamma)))
    assert -1e-12 < lost <= 3 * gamma


@pytest.mark.parametrize(
    "strictest", [{"name": "threshold", "threshold": 1.0}, {"name": "entropy_bound", "gamma": 0.0}], ids=str
)
def test_at_their_strictest_both_write_one_token_at_a_time_which_is_exact(strictest):
    counts = sample_counts(WORLD, LaddJointScheduler(unmasking=strictest), 4)
    assert p_value(counts, WORLD.token_law()) > ALMOST_NEVER


@pytest.mark.parametrize(
    "widest", [{"name": "threshold", "threshold": 0.0}, {"name": "entropy_bound", "gamma": 100.0}], ids=str
)
def test_at_their_widest_both_write_everything_at_once(widest):
    counts = sample_counts(WORLD, LaddJointScheduler(unmasking=widest), 4)
    assert p_value(counts, WORLD.run_law(joint_points(1))) > ALMOST_NEVER
    assert p_value(counts, WORLD.token_law()) < ALMOST_NEVER
