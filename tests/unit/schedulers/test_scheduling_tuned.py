"""A tuned scheduler walks the best run of each number of steps, and keeps its table wherever it is saved."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.exact_denoiser import SEQUENCES, ExactDenoiser, K, M, S, V, random_table
from helpers.exact_losses import exact_table
from helpers.exact_world import ExactWorld, p_value, sample_counts

from ladd_hf import LaddConfig, LaddJointScheduler, LaddScheduler, LaddTunedScheduler, NoiseProcess, tune_schedule
from ladd_hf.diffusion.loss_table import LossTable
from ladd_hf.diffusion.time_axes import TimeAxis

ALMOST_NEVER = 1e-4


@pytest.fixture(scope="module")
def table():
    return exact_table(ExactDenoiser(random_table()), 3)


@pytest.fixture(scope="module")
def tokens_alone():
    return exact_table(ExactDenoiser(random_table(), with_codes=False), 3)


@pytest.fixture
def config(tiny_config):
    return tiny_config("discrete")


def grid_of(scheduler):
    return [(float(x), float(y)) for x, y in zip(scheduler.token_times, scheduler.latent_times, strict=True)]


def near(points):
    return [pytest.approx(point, abs=1e-6) for point in points]  # times of a run are float32


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 70])
def test_its_steps_are_the_best_run(table, config, steps):
    scheduler = LaddTunedScheduler(table).for_model(config)
    scheduler.set_timesteps(steps)
    assert scheduler.num_inference_steps == steps == len(scheduler.timesteps)
    assert grid_of(scheduler) == near(scheduler.run(steps))
    assert scheduler.bound(steps).total_nats == table.bound(scheduler.run(steps)).total_nats


def test_one_step_writes_everything(table, tokens_alone, tiny_config):
    scheduler = LaddTunedScheduler(table).for_model(tiny_config("discrete"))
    scheduler.set_timesteps(1)
    assert grid_of(scheduler) == [(1, 1), (0, 0)] and scheduler.moves_tokens(0) and scheduler.moves_latents(0)
    scheduler = LaddTunedScheduler(tokens_alone).for_model(tiny_config("none"))
    scheduler.set_timesteps(3)
    assert grid_of(scheduler)[0] == (1, 0) and scheduler.num_inference_steps == 3


@pytest.mark.parametrize("steps", [2, 4])
def test_a_run_has_the_enumerated_law(steps):
    world = ExactWorld.at_random(vocab=2, length=3, codebook=2, codes=2, seed=4)
    axes = (
        TimeAxis.of(NoiseProcess.of(world.config).token_channel(), 3),
        TimeAxis.of(NoiseProcess.of(world.config).latent_channel(), 3),
    )
    losses = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(1)).double().numpy()
    table = LossTable(*axes, *losses, *(0 * losses), 3.0, 10)
    scheduler = LaddTunedScheduler(table).for_model(world.config)
    counts = sample_counts(world, scheduler, steps)
    assert p_value(counts, world.run_law(scheduler.run(steps))) > ALMOST_NEVER
    assert p_value(counts, world.run_law([(1.0, 1.0), (0.0, 0.0)])) < ALMOST_NEVER


@pytest.mark.parametrize("cost", [None, 0.5])
def test_the_table_is_saved_and_loaded_as_json(table, config, tmp_path, cost):
    scheduler = LaddTunedScheduler(table, cost, [2, 5], latent_solver="ddpm").for_model(config)
    scheduler.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "scheduler_config.json").read_text(), parse_constant=pytest.fail)
    assert saved["budgets"] == [2, 5] and saved["latent_cost"] == cost and "timestep_spacing" not in saved
    for loaded in (
        LaddTunedScheduler.from_pretrained(tmp_path),
        LaddTunedScheduler.from_config(scheduler.config),
        LaddTunedScheduler.from_config(saved),
    ):
        assert loaded.config.latent_solver == "ddpm" and loaded.noise_process == NoiseProcess.of(config)
        assert loaded.for_model(config) is loaded
        assert [loaded.run(steps) for steps in (2, 3, 9)] == [scheduler.run(steps) for steps in (2, 3, 9)]


def test_a_switch_to_another_scheduler_and_back_keeps_options_and_table(table, config):
    tuned = LaddTunedScheduler(table, remasking={"name": "cap", "rate": 0.1}).for_model(config)
    other = LaddJointScheduler.from_config(tuned.config)
    assert other.config.remasking == {"name": "cap", "rate": 0.1}
    back = LaddTunedScheduler.from_config(other.config)
    assert back.run(3) == tuned.run(3) and back.noise_process == other.noise_process
    assert LaddScheduler.from_config(tuned.config).path == LaddJointScheduler().path


@pytest.mark.parametrize("time", [0.0, 0.4])
def test_given_latents_start_where_they_are(table, config, time):
    scheduler = LaddTunedScheduler(table).for_model(config)
    scheduler.set_timesteps(4, latent_time=time)
    points = grid_of(scheduler)
    assert points[0] == pytest.approx((1, time)) and points[-1] == (0, 0) and len(points) == 5
    assert max(t_y for _, t_y in points) == pytest.approx(time)


def test_a_budget_of_costs_may_make_more_steps(config):
    first = exact_table(ExactDenoiser(random_table()), 3, latents_first=True)
    scheduler = LaddTunedScheduler(first, latent_cost=0.1).for_model(config)
    scheduler.set_timesteps(2)
    assert scheduler.num_inference_steps > 2 and scheduler.path.latents_first
    assert sum(scheduler.moves_tokens(step) for step in scheduler.timesteps) == 1
    with pytest.raises(ValueError, match="`num_steps` is 1, but the shortest run takes 2"):
        scheduler.set_timesteps(1)


def test_what_does_not_fit_is_refused(table, tokens_alone, tiny_config):
    for options, said in (
        ({}, "`table` is None; give the losses that `tune_schedule` measures"),
        ({"table": table, "unmasking": "first_hitting"}, "reveals as many tokens in each step"),
        ({"table": table, "unmasking": {"name": "threshold", "threshold": 0.9}}, "reveals as many tokens in each step"),
        ({"table": table, "budgets": [0]}, "`budgets` is \\[0\\]; give whole numbers"),
        ({"table": table, "budgets": 3}, "`budgets` is 3"),
        ({"table": table, "latent_cost": 0}, "`latent_cost` is 0"),
    ):
        with pytest.raises(ValueError, match=said):
            LaddTunedScheduler(**options)
    with pytest.raises(ValueError, match="tuned for a model with latents, but this one is without"):
        LaddTunedScheduler(table).for_model(tiny_config("none"))
    with pytest.raises(ValueError, match="tuned for a model without latents, but this one is with"):
        LaddTunedScheduler(tokens_alone).for_model(tiny_config("discrete"))
    with pytest.raises(ValueError, match="another `token_noise_schedule`"):
        LaddTunedScheduler(table).for_model(tiny_config("discrete", token_noise_schedule="cosine"))
    with pytest.raises(ValueError, match="another `latent_noise_schedule`"):
        LaddTunedScheduler(table).for_model(tiny_config("discrete", latent_noise_schedule="linear"))


# --- tuning ---


def test_any_denoiser_is_tuned():
    scheduler = tune_schedule(ExactDenoiser(random_table()), SEQUENCES, [1, 3], cells=3, batch_size=10)
    assert scheduler.table.num_texts == len(SEQUENCES) and scheduler.run(1) == [(1, 1), (0, 0)]
    scheduler = scheduler.for_model(
        LaddConfig(
            vocab_size=V + 1, max_position_embeddings=S, latent_type="discrete", latent_length=M, latent_dim=2,
            codebook_size=K,
        )
    )  # fmt: skip
    scheduler.set_timesteps(3)
    assert len(scheduler.timesteps) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cost": "seconds"}, "`cost` is 'seconds'; give 'evaluations' or 'flops'"),
        ({"cells": 1}, "`cells` is 1; give a whole number of at least 2"),
        ({"num_texts": 1}, "`num_texts` is 1"),
        ({"batch_size": 0}, "`batch_size` is 0"),
        ({"budgets": [0]}, "`budgets` is"),
        ({"data": "texts"}, "`data` is 'texts'; give"),
        ({"data": [{"text": "a"}] * 2}, "an example is a dict with the text's `input_ids`"),
    ],
    ids=str,
)
def test_what_cannot_be_tuned_is_refused(options, said):
    given = {"data": SEQUENCES, "budgets": [2], "cells": 2, **options}
    with pytest.raises(ValueError, match=said):
        tune_schedule(ExactDenoiser(random_table()), **given)
