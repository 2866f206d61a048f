"""With an exact denoiser, the schedulers draw from exactly the law they should."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from scipy import stats

from ladd_hf import LaddConfig, LaddJointScheduler, LaddSequentialScheduler, RowGenerator

ALMOST_NEVER = 1e-4  # p-values below this are failures; the seeds are fixed


class ExactDenoiser:
    """The exact predictions of a small distribution: a code decides the law of three binary tokens, drawn apart.

    p(x, c) = p(c) prod_i p(x_i | c). Given the code tokens are independent; without it they are not.
    """

    code_law = torch.tensor([0.35, 0.65], dtype=torch.float64)
    ones = torch.tensor([[0.9, 0.8, 0.15], [0.2, 0.05, 0.7]], dtype=torch.float64)  # p(x_i = 1 | c)

    def __init__(self, latent_type="discrete"):
        latents = {"latent_type": "discrete", "latent_length": 1, "latent_dim": 2, "codebook_size": 2}
        self.config = LaddConfig(
            vocab_size=3, max_position_embeddings=3, **(latents if latent_type == "discrete" else {})
        )
        self.given_code = torch.stack([1 - self.ones, self.ones], dim=-1)  # (codes, places, symbols)

    def __call__(self, input_ids, latents=None, logits_mask=None, **times):
        posterior = self.code_law.repeat(len(input_ids), 1)
        for place in range(3):
            for symbol in range(2):
                seen = (input_ids[:, place] == symbol)[:, None]
                posterior = torch.where(seen, posterior * self.given_code[:, place, symbol], posterior)
        posterior = posterior / posterior.sum(1, keepdim=True)
        prediction = posterior[:, None].log()
        if latents is not None:
            known = torch.nn.functional.one_hot(latents[:, 0], 3)[:, :2].double()
            posterior = torch.where(latents == 2, posterior, known)
        law = torch.einsum("bc,cis->bis", posterior, self.given_code)
        law = torch.cat([law, torch.zeros(len(law), 3, 1)], dim=-1)
        logits = law.log()
        return SimpleNamespace(logits=logits[logits_mask], latent_prediction=prediction)

    def joint_law(self):
        """p(x) of all eight sequences."""
        return self.laws_by_code().T @ self.code_law

    def laws_by_code(self):
        """p(x | c), `(codes, 8)`."""
        sequences = torch.tensor(list(itertools.product((0, 1), repeat=3)))
        return torch.stack([torch.stack([table[range(3), x].prod() for x in sequences]) for table in self.given_code])

    def product_of_marginals(self):
        marginal = self.code_law @ self.ones
        sequences = torch.tensor(list(itertools.product((0, 1), repeat=3))).double()
        return (sequences * marginal + (1 - sequences) * (1 - marginal)).prod(1)


def counts_of(scheduler, denoiser, num_steps, count=20_000, latents=None, ignore_codes=False):
    """How often each of the eight sequences is sampled."""
    scheduler = scheduler.for_model(denoiser.config)
    scheduler.set_timesteps(num_steps, latents_given=latents is not None)
    random = RowGenerator.from_seed(0, torch.arange(count))
    tokens = torch.full((count, 3), 2)
    latents = scheduler.prior_latents(1, random, count) if latents is None else latents
    for step in scheduler.timesteps:
        unmask = scheduler.draw_unmask(step, tokens, random)
        shown = scheduler.dropped_latents(latents) if ignore_codes else latents
        output = denoiser(tokens, shown, logits_mask=unmask)
        tokens, latents = scheduler.step(
            output, step, tokens, latents, unmask=unmask, generator=random, return_dict=False
        )
    return (tokens * torch.tensor([4, 2, 1])).sum(1).bincount(minlength=8)


def p_value(counts, law):
    return stats.chisquare(counts.numpy(), (law * counts.sum()).numpy()).pvalue


@pytest.mark.parametrize("num_steps", [2, 4])
def test_the_sequential_sampler_with_an_exact_denoiser_draws_from_the_exact_distribution(num_steps):
    denoiser = ExactDenoiser()
    scheduler = LaddSequentialScheduler(max_latent_steps=1)
    assert p_value(counts_of(scheduler, denoiser, num_steps), denoiser.joint_law()) > ALMOST_NEVER


def test_the_same_test_rejects_a_sampler_that_ignores_the_code():
    denoiser = ExactDenoiser()
    counts = counts_of(LaddSequentialScheduler(), denoiser, 2, ignore_codes=True)
    assert p_value(counts, denoiser.joint_law()) < ALMOST_NEVER
    assert p_value(counts, denoiser.product_of_marginals()) > ALMOST_NEVER


def test_one_step_without_latents_draws_from_the_product_of_the_marginals():
    denoiser = ExactDenoiser("none")
    counts = counts_of(LaddJointScheduler(), denoiser, 1)
    assert p_value(counts, denoiser.product_of_marginals()) > ALMOST_NEVER
    assert p_value(counts, denoiser.joint_law()) < ALMOST_NEVER


def test_one_joint_step_gains_nothing_from_a_code_that_is_written_with_the_tokens():
    denoiser = ExactDenoiser()
    counts = counts_of(LaddJointScheduler(), denoiser, 1)
    assert p_value(counts, denoiser.product_of_marginals()) > ALMOST_NEVER


@pytest.mark.parametrize("latent_type", ["none", "discrete"])
def test_more_joint_steps_come_closer_to_the_exact_distribution(latent_type):
    denoiser = ExactDenoiser(latent_type)
    distances = []
    for num_steps in (1, 4, 64):
        counts = counts_of(LaddJointScheduler(), denoiser, num_steps)
        distances.append(float((counts / counts.sum() - denoiser.joint_law()).abs().sum()) / 2)
    assert distances[0] > 2 * distances[1] > 4 * distances[2]
    assert distances[2] < 0.02


@pytest.mark.parametrize("scheduler_class", [LaddJointScheduler, LaddSequentialScheduler])
@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("num_steps", [1, 3])
def test_tokens_of_a_given_code_are_drawn_from_their_law_given_it(scheduler_class, code, num_steps):
    denoiser = ExactDenoiser()
    counts = counts_of(scheduler_class(), denoiser, num_steps, latents=torch.full((20_000, 1), code))
    assert p_value(counts, denoiser.laws_by_code()[code]) > ALMOST_NEVER
    assert p_value(counts, denoiser.laws_by_code()[1 - code]) < ALMOST_NEVER
