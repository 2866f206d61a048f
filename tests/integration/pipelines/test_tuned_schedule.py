"""Schedules are tuned for every kind of model, and saved, loaded and walked within a pipeline."""

from __future__ import annotations

import pytest
import torch
from diffusers import DiffusionPipeline
from helpers.sampling import seeded

from ladd_hf import LaddPipeline, LaddTunedScheduler, tune_schedule
from ladd_hf.metrics import quality_by_evaluations

KINDS = ["none", "discrete", "continuous", "separate", "separate_codes", "alone"]
TEXTS = 1 + torch.arange(24 * 12).view(24, 12) % 9


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tuned(model, data=TEXTS, budgets=(2, 3), **options):
    return tune_schedule(model, data, budgets, **{"cells": 3, **options})


@pytest.mark.parametrize("kind", KINDS)
def test_a_tuned_pipeline_is_saved_and_gives_the_same_samples(kind, stirred_model, tmp_path):
    model = stirred_model(kind)
    pipe = quiet(LaddPipeline(model, tuned(model)))
    pipe.save_pretrained(tmp_path)
    for loaded in (
        LaddPipeline.from_pretrained(tmp_path),
        DiffusionPipeline.from_pretrained(tmp_path, trust_remote_code=True),
    ):
        assert type(loaded.scheduler) is LaddTunedScheduler
        for steps in (2, 5):  # one that was asked for, and one that was not
            runs = [quiet(each)(num_steps=steps, batch_size=3, generator=seeded()) for each in (pipe, loaded)]
            assert torch.equal(runs[0].sequences, runs[1].sequences) and runs[0].nfe == steps


@pytest.mark.parametrize("kind", ["discrete", "continuous", "separate"])
def test_given_latents_are_walked_from_where_they_are(kind, stirred_model):
    model = stirred_model(kind)
    pipe = quiet(LaddPipeline(model, tuned(model)))
    assert pipe.variations(TEXTS[0].tolist(), strength=0.4, num_steps=3, batch_size=2).nfe == 3
    assert pipe(latents=pipe.encode(TEXTS[:2]), num_steps=3).nfe == 3


def test_a_model_is_left_as_it_was(stirred_model):
    model = stirred_model("discrete").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tuned(model, cost="flops")
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(one.requires_grad for one in model.parameters())


@pytest.mark.parametrize("kind", ["separate", "separate_codes", "alone"])
def test_the_cost_of_latents_alone_is_that_of_what_is_evaluated(kind, stirred_model):
    assert tuned(stirred_model("discrete"), cost="flops").config.latent_cost == 1
    model = stirred_model(kind)
    scheduler = tuned(model, cost="flops")
    assert scheduler.table.latents_first, "only in those runs do latents alone cost so little"
    assert 0.05 < scheduler.config.latent_cost < 0.6
    pipe = quiet(LaddPipeline(model, scheduler))
    run = pipe(num_steps=4)
    assert run.nfe == len(pipe.scheduler.timesteps) > 4
    with pytest.raises(ValueError, match="the shortest run takes 2"):
        tuned(model, budgets=[1], cost="flops")


@pytest.mark.parametrize("kind", ["discrete", "separate", "separate_codes", "alone"])
def test_the_table_foresees_the_bound_of_its_runs(kind, stirred_model):
    model = stirred_model(kind)
    scheduler = tuned(model, num_draws=4, cells=12 if kind == "separate" else 4, latent_width=1e-3)  # all of the bound
    for steps in (2, 3):
        bound = model.nelbo(TEXTS.repeat(8, 1), run=scheduler.run(steps), num_samples=32, generator=seeded())
        foreseen = scheduler.bound(steps)
        assert abs(foreseen.nats_per_token - bound.nats_per_token) < 3 * foreseen.stderr / 12
        assert foreseen.stderr < 0.2 * foreseen.total_nats


def test_padded_texts_and_precomputed_columns_are_read(stirred_model):
    model = stirred_model("discrete", token_time_conditioning=True)
    examples = [{"input_ids": row[: 6 + number % 7].tolist()} for number, row in enumerate(TEXTS)]
    scheduler = tuned(model, examples)
    assert scheduler.table.num_tokens == pytest.approx(sum(6 + n % 7 for n in range(24)) / 24)
    one_by_one = tuned(model, examples, batch_size=1)
    assert abs(one_by_one.table.token_losses - scheduler.table.token_losses).max() < 1e-4
    labelled = [{**one, "labels": [-100, *one["input_ids"][1:]]} for one in examples]
    assert tuned(model, labelled).table.num_tokens == pytest.approx(scheduler.table.num_tokens - 1)
    with pytest.raises(ValueError, match="no token to score"):
        tuned(model, [{**one, "labels": [-100] * len(one["input_ids"])} for one in examples])


def test_quality_is_measured_at_every_budget(stirred_model):
    model = stirred_model("discrete")
    pipe = quiet(LaddPipeline(model, tuned(model)))
    found = quality_by_evaluations(pipe, [8, 1, 2], lambda ids: ids.shape, num_samples=4, batch_size=4)
    assert list(found) == [8, 1, 2]
