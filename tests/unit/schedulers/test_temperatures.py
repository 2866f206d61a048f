"""Temperatures of tokens and latents: the law they draw from, options of the scheduler that a call replaces."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from helpers.exact_world import ExactWorld, p_value, sample_counts

from ladd_hf import LaddJointScheduler, LaddPipeline, LaddScheduler, LaddSequentialScheduler, RowGenerator
from ladd_hf.diffusion.anchored_latents import Anchors
from ladd_hf.diffusion.noise_schedules import gaussian_schedule

ALMOST_NEVER = 1e-4
COUNT = 20_000


@pytest.fixture(scope="module")
def world():
    return ExactWorld.at_random(vocab=3, length=1, codebook=3, codes=1, seed=2)


def tempered(law, temperature):
    return torch.softmax(law.log() / temperature, -1)


def law_of_two_steps(world, temperature, latent_temperature):
    """Law of x after one step of the code and one of the token."""
    of_codes = tempered(world.table.sum(0), latent_temperature)
    given = tempered((world.table / world.table.sum(0)).T, temperature)  # (K, V)
    return of_codes @ given


@pytest.mark.parametrize("temperatures", [(1.0, 1.0), (0.5, 1.0), (1.0, 0.5), (0.6, 2.0)])
def test_tokens_and_codes_are_drawn_from_their_tempered_laws(world, temperatures):
    options = dict(zip(("temperature", "latent_temperature"), temperatures, strict=True))
    counts = sample_counts(world, LaddSequentialScheduler(**options).for_model(world.config), 2)
    assert p_value(counts, law_of_two_steps(world, *temperatures)) > ALMOST_NEVER
    if temperatures != (1.0, 1.0):
        assert p_value(counts, law_of_two_steps(world, 1.0, 1.0)) < ALMOST_NEVER


def test_at_zero_the_likeliest_are_taken(world):
    counts = sample_counts(
        world, LaddSequentialScheduler(temperature=0, latent_temperature=0).for_model(world.config), 2
    )
    code = world.table.sum(0).argmax()
    assert counts[world.table[:, code].argmax()] == counts.sum()


def test_anchors_are_tempered_too(tiny_config):
    config = tiny_config("continuous", latent_prediction_type={"name": "anchors", "count": 3}, latent_length=1)
    anchors, law = torch.randn(3, config.latent_dim), torch.tensor([0.6, 0.3, 0.1]).double()
    logits = law.log().float().expand(COUNT, 1, 3)
    output = SimpleNamespace(logits=None, latent_prediction=logits, latent_anchors=anchors)
    scheduler = LaddSequentialScheduler(latent_temperature=0.5).for_model(config)
    scheduler.set_timesteps(2)
    random = RowGenerator.from_seed(0, torch.arange(COUNT))
    tokens = torch.full((COUNT, config.max_position_embeddings), config.mask_token_id)
    latents = scheduler.prior_latents(1, random, COUNT)
    _, drawn = scheduler.step(output, 0, tokens, latents, generator=random, return_dict=False)
    counts = (drawn == anchors).all(-1).sum(0)
    assert counts.sum() == COUNT and p_value(counts, tempered(law, 0.5)) > ALMOST_NEVER


def anchors_drawn(config, law, points, spread, temperature, steps):
    """Latents `(COUNT, 1, D)` of runs whose exact posterior, of these anchors, is tempered."""
    scheduler = LaddSequentialScheduler(latent_temperature=temperature, latent_share=0.9).for_model(config)
    scheduler.set_timesteps(steps)
    random = RowGenerator.from_seed(0, torch.arange(COUNT))
    tokens = torch.full((COUNT, config.max_position_embeddings), config.mask_token_id)
    latents, anchors = scheduler.prior_latents(1, random, COUNT), Anchors(points, spread)
    for step in range(steps - 1):
        (time,) = set(scheduler.times(step)[1].tolist())
        share = gaussian_schedule(config.latent_noise_schedule).signal_variance(torch.full((COUNT,), time).double())
        output = SimpleNamespace(
            logits=None,
            latent_prediction=law.log().float() + anchors.log_likelihoods(latents, share.float()),
            latent_anchors=points,
            latent_anchor_spread=torch.tensor(spread),
        )
        tokens, latents = scheduler.step(output, step, tokens, latents, generator=random, return_dict=False)
    return latents


@pytest.mark.parametrize("spread", [0.0, 0.3])
@pytest.mark.parametrize("steps", [2, 3, 6])
def test_what_is_tempered_is_the_anchors_law_and_not_their_noise(tiny_config, steps, spread):
    config = tiny_config("continuous", latent_prediction_type={"name": "anchors", "count": 3}, latent_length=1)
    points, law = torch.randn(3, config.latent_dim), torch.tensor([0.6, 0.3, 0.1]).double()
    drawn = anchors_drawn(config, law, points, spread, 0.4, steps)
    of_tempered = anchors_drawn(config, tempered(law, 0.4), points, spread, 1.0, steps)
    same = (drawn == of_tempered).all(-1).float().mean()
    assert same > 1 - 1e-3  # but for rounding in the cumulative law
    if not spread:  # then it is the law of what is drawn, after any number of steps
        counts = (drawn == points).all(-1).sum(0)
        assert counts.sum() == COUNT and p_value(counts, tempered(law, 0.4)) > ALMOST_NEVER


def test_latents_that_are_computed_have_no_temperature(tiny_config):
    config = tiny_config("continuous")
    with pytest.raises(ValueError, match=r"`latent_temperature` is 0\.5, but these latents are computed, not drawn"):
        LaddSequentialScheduler(latent_temperature=0.5).for_model(config)
    assert LaddJointScheduler(latent_temperature=0.5).for_model(tiny_config("none"))  # there is nothing to temper


@pytest.mark.parametrize("name", ["temperature", "latent_temperature"])
@pytest.mark.parametrize("value", [-0.1, float("nan"), "warm", None])
def test_what_is_no_temperature_is_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` is"):
        LaddScheduler(**{name: value})


def test_a_tempered_run_has_no_bound(tiny_config):
    own = LaddScheduler().for_model(tiny_config("discrete"))
    assert own.is_ancestral and own.has_marginal_bound and not own.is_tempered
    for name in ("temperature", "latent_temperature"):
        other = LaddScheduler.from_config(own.config, **{name: 0.9})
        assert other.is_tempered and not other.is_ancestral and not other.has_marginal_bound
    alone = LaddScheduler(latent_temperature=0.9, unmasking="first_hitting").for_model(tiny_config("none"))
    assert alone.is_first_hitting and not LaddScheduler(temperature=0.9, unmasking="first_hitting").is_first_hitting


def test_a_pipeline_keeps_them_and_a_call_replaces_them(tiny_model, tmp_path):
    model = tiny_model("discrete")
    with torch.no_grad():  # a new head's law is uniform at any temperature
        for weights in model.parameters():
            weights.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    pipe = LaddPipeline(model, LaddSequentialScheduler(temperature=0.5, latent_temperature=0.2))
    pipe.save_pretrained(tmp_path)
    pipe = LaddPipeline.from_pretrained(tmp_path)

    def written(pipe, **options):
        return pipe(num_steps=4, batch_size=8, generator=torch.Generator().manual_seed(0), output_type="seq", **options)

    plain = LaddPipeline(model, LaddSequentialScheduler())
    given = written(plain, temperature=0.5, latent_temperature=0.2)
    assert torch.equal(written(pipe).sequences, given.sequences) and torch.equal(written(pipe).latents, given.latents)
    assert torch.equal(written(pipe, temperature=1, latent_temperature=1).sequences, written(plain).sequences)
    assert not torch.equal(given.latents, written(plain).latents)


def test_a_model_without_latents_refuses_the_calls_temperature(tiny_model):
    pipe = LaddPipeline(tiny_model("none"), LaddJointScheduler())
    with pytest.raises(ValueError, match="the model has no latents: give `temperature`"):
        pipe(num_steps=2, latent_temperature=0.5)


def test_clean_latents_are_not_drawn_at_a_temperature(tiny_model):
    model = tiny_model("discrete")
    pipe, codes = LaddPipeline(model), torch.zeros(1, model.config.latent_length, dtype=torch.int64)
    with pytest.raises(ValueError, match="the given `latents` are clean"):
        pipe(num_steps=2, latents=codes, latent_temperature=0.5)
    assert pipe(num_steps=2, latents=codes, strength=0.5, latent_temperature=0.5, output_type="seq").nfe == 2


def test_steps_to_anchors_that_are_not_the_models_own_have_no_bound_in_any_order(tiny_config):
    config = tiny_config("continuous", latent_prediction_type={"name": "anchors", "count": 3})
    for solver, known in (("ddpm", True), ("ddim", False)):
        scheduler = LaddScheduler(latent_solver=solver, unmasking="first_hitting").for_model(config)
        assert scheduler.is_first_hitting == known
