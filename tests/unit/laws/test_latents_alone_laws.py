"""Bounds, loss table, training and sampler are about one model: whose latents alone are predicted without tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from helpers.exact_denoiser import SEQUENCES, ExactDenoiser
from helpers.exact_world import ExactWorld, joint_points, p_value, sequential_points
from helpers.latents_alone import TwoMinds

from ladd_hf import LaddScheduler, RowGenerator, TrainingNoise, TrainingObjective
from ladd_hf.diffusion.loss_draws import HeldOutTexts
from ladd_hf.diffusion.loss_measuring import measure_losses
from ladd_hf.diffusion.marginal_bound import bound_with
from ladd_hf.diffusion.masked_channels import DiscreteLatents, MaskedChannel
from ladd_hf.diffusion.nelbo import nelbo
from ladd_hf.diffusion.noise_schedules import mask_schedule
from ladd_hf.diffusion.proposals import CodeProposals
from ladd_hf.diffusion.training_loss import training_loss
from ladd_hf.pipelines.guidance import GuidedDenoiser

RUNS = {
    "sequential": sequential_points(2, 2),
    "joint": joint_points(3),
    "stairs": [(1, 1), (1, 0.4), (0.3, 0.4), (0.3, 0), (0, 0)],
}


def everywhere(tokens):
    return torch.ones_like(tokens, dtype=torch.bool)


# --- the bound of single steps ---


@pytest.mark.parametrize("run", RUNS)
def test_the_bound_of_a_run_is_that_of_enumeration(run):
    denoiser, points, repeats = TwoMinds(), RUNS[run], 200
    tokens = SEQUENCES.repeat(repeats, 1)
    random = RowGenerator.from_seed(0, torch.arange(len(tokens)))
    found = nelbo(denoiser, tokens, everywhere(tokens), num_samples=8, random=random, run=points)
    others = ExactDenoiser(denoiser.table)
    with_tokens = nelbo(others, tokens, everywhere(tokens), num_samples=8, random=random, run=points)
    for name, expected in zip(("token_nats", "latent_nats"), denoiser.enumerated_run(points), strict=True):
        draws = getattr(found, name).view(repeats, -1)
        mean, error = draws.mean(0), draws.std(0) / math.sqrt(repeats)
        assert ((mean - expected).abs() <= 5 * error + 1e-6).all(), name
    gap = (found.latent_nats - with_tokens.latent_nats).view(repeats, -1).mean(0)
    assert gap.abs().max() > 0.05, "the two minds differ"


def test_where_no_token_is_asked_for_none_is_evaluated():
    denoiser = TwoMinds()
    tokens = SEQUENCES
    random = RowGenerator.from_seed(0, torch.arange(len(tokens)))
    nelbo(denoiser, tokens, everywhere(tokens), num_samples=8, random=random, path="sequential")
    assert denoiser.alone_rows == denoiser.rows == 4 * len(tokens), "half of the points are of latents alone"


# --- the table ---


def test_the_table_has_the_losses_of_the_evaluations_that_runs_make():
    denoiser = TwoMinds()
    minds = denoiser, denoiser.alone, ExactDenoiser(denoiser.table)
    found, alone, both = (measure_losses(one, [HeldOutTexts(SEQUENCES, everywhere(SEQUENCES))], 3) for one in minds)
    np.testing.assert_array_equal(found.token_losses, both.token_losses)
    np.testing.assert_array_equal(found.latent_losses[1:], both.latent_losses[1:])
    np.testing.assert_array_equal(found.latent_losses[0], alone.latent_losses[0])
    assert (found.latent_losses[0] != both.latent_losses[0]).any()


# --- the bound that walks a run, and the sampler ---


class World(ExactWorld):
    """A world as a denoiser and as a pipeline's model, with another law of codes alone."""

    latents_alone = "masked"

    def __init__(self, *args):
        super().__init__(*args)
        self.token_channel = MaskedChannel(mask_schedule("linear"), self.vocab)
        self.latent_channel = DiscreteLatents(mask_schedule({"name": "polynomial", "degree": 2}), self.codebook)
        self.config.latent_denoiser = {"name": "shared", "skips_masked_tokens": True}
        self.other = ExactWorld(self.table.flip(tuple(range(self.length, self.table.ndim))), self.length)

    def __call__(self, input_ids, latents=None, logits_mask=None, **others):
        if input_ids is not None:
            return super().__call__(input_ids, latents, logits_mask)
        hidden = torch.full((len(latents), self.length), self.vocab)
        output = self.other(hidden, latents)
        output.logits = None
        return output

    denoise = __call__

    def predictions_at(self, t_x, tokens, codes):
        of_tokens, of_codes = self.predictions(tokens, codes)
        if t_x == 1:
            of_codes = self.other.predictions(torch.full_like(tokens, self.vocab), codes)[1]
        return of_tokens, of_codes


WORLD = World.at_random(length=2, codes=2, codebook=3, seed=3)


@pytest.mark.parametrize("run", RUNS)
def test_the_mean_weight_of_the_walk_is_the_likelihood_of_what_the_run_writes(run):
    points, repeats = RUNS[run], 1500
    texts = WORLD.without_codes().values
    tokens = texts.repeat(repeats, 1)
    logits = torch.randn(WORLD.codes, WORLD.codebook, generator=torch.Generator().manual_seed(1))
    proposals = CodeProposals(logits.expand(1, len(tokens), -1, -1))
    random = RowGenerator.from_seed(0, torch.arange(len(tokens)))
    found = bound_with(WORLD, tokens, everywhere(tokens), None, points, proposals, 1, random)
    draws = (-found.total_nats).exp().view(repeats, -1)
    mean, error, law = draws.mean(0), draws.std(0) / math.sqrt(repeats), WORLD.run_law(points)
    assert ((mean - law).abs() <= 5 * error).all() and (error < 0.1 * law).all()
    assert (law - ExactWorld.run_law(ExactWorld(WORLD.table, WORLD.length), points)).abs().max() > 0.01


@pytest.mark.parametrize("run", RUNS)
def test_the_sampler_writes_by_the_law_of_the_run(run):
    points, count = RUNS[run], 8_000
    scheduler = LaddScheduler(path=[list(map(float, point)) for point in points]).for_model(WORLD.config)
    scheduler.set_timesteps(len(points) - 1)
    random = RowGenerator.from_seed(0, torch.arange(count))
    tokens, latents = (
        torch.full((count, WORLD.length), WORLD.vocab),
        scheduler.prior_latents(WORLD.codes, random, count),
    )
    denoise = GuidedDenoiser(WORLD, scheduler)
    for step in scheduler.timesteps.tolist():
        plan = scheduler.plan_step(step, tokens, latents, random)
        output = denoise(tokens, latents, plan)
        tokens, latents = scheduler.step(output, step, tokens, latents, plan=plan, generator=random, return_dict=False)
    places = WORLD.vocab ** torch.arange(WORLD.length - 1, -1, -1)
    counts = (tokens * places).sum(1).bincount(minlength=WORLD.vocab**WORLD.length)
    assert p_value(counts, WORLD.run_law(points)) > 1e-3


# --- training ---


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("distribution", ["independent", "sequential"])
def test_training_shows_the_same_input_and_leaves_the_tokens_loss_as_it_is(distribution, share):
    objective = TrainingObjective(time_distribution=distribution, fully_masked_share=share)
    tokens, parts = SEQUENCES.repeat(8, 1), []
    denoiser = TwoMinds()
    for one in (denoiser, ExactDenoiser(denoiser.table)):
        noise = TrainingNoise(0, torch.arange(len(tokens)))
        parts.append(training_loss(one, tokens, everywhere(tokens), None, objective, noise).parts)
    assert torch.allclose(parts[0]["token_loss"], parts[1]["token_loss"], rtol=1e-12)
    trained = distribution == "sequential" or share > 0
    assert (parts[0]["latent_loss"] != parts[1]["latent_loss"]) == trained
    assert objective.draws_masked_texts == trained
    if distribution == "sequential" and not share:
        assert denoiser.alone_rows + denoiser.rows == len(tokens) + 2, "each row once, and a spare one in each call"
    elif trained and distribution == "independent":
        assert denoiser.rows == len(tokens) + 1 and denoiser.alone_rows == pytest.approx(share * len(tokens), rel=0.35)
