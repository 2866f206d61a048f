"""What training cost stands beside what it gave: in the files of weights, in results, in reports, over seeds."""

from __future__ import annotations

import json

import pytest
from helpers.evaluations import results_of

from ladd_hf.evaluation import EvaluationResults, compared, markdown_report
from ladd_hf.evaluation.seeds import over_seeds
from ladd_hf.training.cost_files import COST_FILE, load_cost, save_cost, training_cost
from ladd_hf.training.run_record import Run, RunRecord, StageCost

ROWS = [("joint", 2, 5.0, 1.5)]


def record():
    """30 steps in two stages, of which the second goes on after a resume."""
    stages, facts = [("encoder", 10), ("prior", 20)], {"hardware": "1 x CPU"}
    first = Run(15, facts, 0, stages, costs=[StageCost(0, 10, 1e12, 5.0), StageCost(1, 5, 2e12, 7.0)])
    return RunRecord(30, [first, Run(15, facts, 15, stages, costs=[StageCost(1, 15, 6e12, 21.0)])])


def test_a_record_tells_the_cost_of_each_stage_over_all_stretches(tmp_path):
    cost = training_cost(record())
    assert (cost["steps"], cost["flops"], cost["seconds"], cost["uncounted_steps"]) == (30, 9e12, 33.0, 0)
    assert cost["stages"] == [
        {"stage": "encoder", "steps": 10, "flops": 1e12, "seconds": 5.0},
        {"stage": "prior", "steps": 20, "flops": 8e12, "seconds": 28.0},
    ]
    save_cost(record(), tmp_path)
    assert load_cost(tmp_path) == cost


def test_a_checkpoints_record_is_read_and_where_nothing_was_counted_nothing_is_told(tmp_path):
    assert load_cost(tmp_path) == {}
    record().save(tmp_path)
    assert load_cost(tmp_path) == training_cost(record())
    save_cost(RunRecord(4, [Run(4)]), tmp_path)
    assert not (tmp_path / COST_FILE).exists()
    half = RunRecord(34, [Run(4), *record().runs])  # begun by a version that counted nothing
    assert training_cost(half)["uncounted_steps"] == 4
    (tmp_path / COST_FILE).write_text("{}")
    with pytest.raises(ValueError, match=r"is damaged.*take it away"):
        load_cost(tmp_path)


def test_results_keep_it_and_are_the_same_without(tmp_path):
    one = results_of("a", ROWS, tmp_path / "a.json", model={"training": training_cost(record())})
    one.save()
    assert EvaluationResults.load(one.path).model["training"] == training_cost(record())
    resumed = results_of("a", [], tmp_path / "a.json").resumed()  # of weights that have lost their file
    assert resumed.rows == one.rows and resumed.model["training"] == training_cost(record())


def test_the_report_shows_it_by_stage_and_says_where_it_is_not_known():
    known = results_of("a", ROWS, model={"training": training_cost(record())})
    report = markdown_report(compared([known, results_of("b", ROWS)]))
    assert "| a | all | 30 | 9.0 | 33 | 1 x CPU |" in report
    assert "| a | prior | 20 | 8.0 | 28 |  |" in report and "| b | not recorded |" in report
    assert "### Training" not in markdown_report(compared([results_of("b", ROWS)]))


def test_over_seeds_it_is_the_mean_of_those_that_are_all_known():
    seeds = []
    for seed in (0, 1):
        cost = training_cost(record())
        cost["stages"][1]["seconds"] += 2 * seed
        model = {"training": cost, "fingerprint": str(seed)}
        seeds.append(results_of("a", ROWS, settings={"seed": seed}, model=model))
    mean = over_seeds(seeds).model["training"]
    assert mean["flops"] == 9e12 and [one["seconds"] for one in mean["stages"]] == [5.0, 29.0]
    del seeds[1].model["training"]
    assert "training" not in over_seeds(seeds).model
    json.dumps(mean)
