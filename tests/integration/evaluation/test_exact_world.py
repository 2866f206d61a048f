"""An evaluation of a world of which everything is known: its rows are what enumeration says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.evaluations import ExactModel, WorldTask
from helpers.exact_world import joint_points, sequential_points

from ladd_hf import LaddPipeline, LaddScheduler, LaddSequentialScheduler
from ladd_hf.evaluation import EvaluationSettings, compared, evaluate_pipeline, markdown_report

SCHEDULES = ("joint", "sequential", "tuned")
SETTINGS = {"num_samples": 4000, "batch_size": 2000, "num_texts": 200, "seed": 3}


@pytest.fixture(scope="module")
def world():
    return ExactModel.at_random(codebook=3)


@pytest.fixture(scope="module")
def results(world):
    settings = EvaluationSettings((1, 2, 4), SCHEDULES, num_proposals=3, bound_samples=4, **SETTINGS)
    return evaluate_pipeline(LaddPipeline(world, LaddSequentialScheduler()), WorldTask(world), settings, "toy")


def test_samples_score_what_the_enumerated_law_of_the_run_does(world, results):
    runs = {
        ("joint", 1): joint_points(1),
        ("joint", 2): joint_points(2),
        ("joint", 4): joint_points(4),
        ("sequential", 2): sequential_points(1, 1),
        ("sequential", 4): sequential_points(2, 2),
    }
    for (schedule, num_steps), points in runs.items():
        row = results.find((schedule, 1.0, num_steps))
        assert abs(row["nats"] - world.score_of_samples(points)) < 4 * row["nats_stderr"]
        assert row["nfe"] == num_steps and row["flops"] > 0


def test_a_schedule_has_a_row_for_each_budget_that_its_path_allows(results):
    assert {row["schedule"]: 0 for row in results.rows}.keys() == set(SCHEDULES)
    budgets = {name: [row["num_steps"] for row in results.rows if row["schedule"] == name] for name in SCHEDULES}
    assert budgets == {"joint": [1, 2, 4], "sequential": [2, 4], "tuned": [1, 2, 4]}


def test_the_marginalised_bound_over_all_codes_in_one_step_is_the_likelihood_itself(world, results):
    """Where tokens take one step there is one order, and three proposals are all codes: nothing is left to chance."""
    texts = torch.stack([row["input_ids"] for row in WorldTask(world).eval_dataset(200, 3)])
    places = world.vocab ** torch.arange(world.length - 1, -1, -1)
    law = world.run_law(sequential_points(1, 1))[(texts * places).sum(1)]
    row = results.find(("sequential", 1.0, 2))
    assert row["marginal_bound"] == pytest.approx(float(-law.log().mean()) / world.length, rel=1e-6)
    assert row["bound"] > row["marginal_bound"] + 0.05  # which pays for the code in full


def test_without_latents_one_evaluation_is_bounded_exactly(world):
    mdlm = ExactModel(world.without_codes().table, world.length)
    pipeline, task = LaddPipeline(mdlm), WorldTask(mdlm)
    (row,) = evaluate_pipeline(pipeline, task, EvaluationSettings((1,), num_proposals=2, **SETTINGS)).rows
    texts = torch.stack([one["input_ids"] for one in task.eval_dataset(200, 3)])
    law = mdlm.run_law(joint_points(1))[(texts * 2 ** torch.arange(2, -1, -1)).sum(1)]
    for name in ("bound", "marginal_bound"):
        assert row[name] == pytest.approx(float(-law.log().mean()) / 3, rel=1e-6)
    assert "parameters" not in evaluate_pipeline(pipeline, task, EvaluationSettings((1,), **SETTINGS)).model


def test_first_hitting_one_token_at_a_time_is_bounded_by_the_likelihood_under_every_order(world):
    """An exact denoiser gives a text its own probability in whatever order it is written, and one code costs the same
    in any number of steps."""
    mdlm = ExactModel(world.without_codes().table, world.length)
    pipeline, task = LaddPipeline(mdlm, LaddScheduler(unmasking="first_hitting")), WorldTask(mdlm)
    settings = EvaluationSettings((2, 3), num_samples=0, num_texts=30, bound_samples=2000, seed=3)
    few, enough = evaluate_pipeline(pipeline, task, settings).rows
    texts = torch.stack([one["input_ids"] for one in task.eval_dataset(30, 3)])
    nats = -mdlm.token_law().log()[(texts * 2 ** torch.arange(2, -1, -1)).sum(1)]
    assert "bound" not in few
    assert enough["bound"] == pytest.approx(float(nats.mean()) / 3, rel=0.02)
    ours = LaddPipeline(world, LaddSequentialScheduler(unmasking="first_hitting"))
    (row,) = evaluate_pipeline(ours, WorldTask(world), replace(settings, budgets=(6,))).rows
    plain = LaddPipeline(world, LaddSequentialScheduler())
    (many,) = evaluate_pipeline(plain, WorldTask(world), replace(settings, budgets=(128,))).rows
    assert row["bound"] == pytest.approx(many["bound"], rel=0.05)


def test_no_samples_measure_bounds_and_cost_alone(world):
    settings = EvaluationSettings((2,), ("sequential",), num_samples=0, num_texts=20)
    results = evaluate_pipeline(LaddPipeline(world, LaddSequentialScheduler()), WorldTask(world), settings)
    assert {"bound", "bound_stderr", "flops"} < set(results.rows[0]) and "nats" not in results.rows[0]
    report = markdown_report(compared([results]))
    assert f"{results.rows[0]['bound']:.4f}" in report and "0 samples a row" in report


def test_one_text_has_no_standard_error(world):
    settings = EvaluationSettings((2,), ("sequential",), num_samples=0, num_texts=1)
    (row,) = evaluate_pipeline(LaddPipeline(world, LaddSequentialScheduler()), WorldTask(world), settings).rows
    assert "bound" in row and "bound_stderr" not in row


def test_budgets_too_small_for_every_schedule_are_refused(world):
    with pytest.raises(ValueError, match=r"`budgets` are \[1\], too few for any of the schedules: give 2 or more"):
        evaluate_pipeline(LaddPipeline(world), WorldTask(world), EvaluationSettings((1,), ("sequential",)))
