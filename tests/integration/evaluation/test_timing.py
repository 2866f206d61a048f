"""Seconds of several models: all of their runs take turns, and those of another time are told apart."""

from __future__ import annotations

import json

import pytest

from ladd_hf import LaddPipeline, LaddSequentialScheduler
from ladd_hf.evaluation import EvaluationResults, EvaluationSettings, compared, evaluate_models, markdown_report, timing
from ladd_hf.evaluation.seeds import over_seeds


@pytest.fixture
def evaluated(stirred_model, tmp_path, monkeypatch):
    """`evaluated(*kinds, budgets=...)`: models of the sawtooth evaluated together, and what was timed in which call."""
    timed, real = [], timing.sampling_seconds

    def note(runs, rounds):
        timed.append(list(runs))
        return real(runs, rounds)

    monkeypatch.setattr(timing, "sampling_seconds", note)

    def run(*kinds, budgets=(2,), rounds=1, folder="results", seed=0):
        for kind in kinds:
            if not (tmp_path / kind).exists():
                model = stirred_model(kind, vocab_size=3, mask_token_id=2, pad_token_id=None)
                LaddPipeline(model, LaddSequentialScheduler()).save_pretrained(tmp_path / kind)
        settings = EvaluationSettings(budgets, num_samples=2, batch_size=2, timing_rounds=rounds, seed=seed)
        timed.clear()
        return evaluate_models([tmp_path / kind for kind in kinds], "sawtooth", settings, tmp_path / folder), timed

    return run


def test_the_runs_of_all_models_take_turns(evaluated):
    comparison, timed = evaluated("none", "vector", budgets=(2, 4))
    (together,) = timed
    assert together == [(number, ("saved", 1.0, steps)) for number in (0, 1) for steps in (2, 4)]
    assert comparison.timed_apart == [] and len(comparison.curves("seconds")) == 2
    assert len({one.timing["run"] for one in comparison.results}) == 1
    assert "all runs of all models take turns" in markdown_report(comparison)


def test_what_has_taken_turns_is_not_timed_again_and_what_is_added_times_all(evaluated):
    before = evaluated("none", "vector")[0].results
    again, timed = evaluated("none", "vector")
    assert not timed and [one.rows for one in again.results] == [one.rows for one in before]
    more, timed = evaluated("none", "vector", budgets=(2, 3))
    assert [len(runs) for runs in timed] == [4]
    assert evaluated("none", "vector", budgets=(2, 3), rounds=2)[1]  # other rounds are another run
    assert more.results[0].timing["run"] != before[0].timing["run"]


def test_a_model_that_is_added_to_finished_results_is_told_apart(evaluated, tmp_path):
    evaluated("none", "vector")
    evaluated("none", "separate")  # which times the baseline anew, and leaves the other model alone
    paths = [tmp_path / "results" / f"{name}.json" for name in ("none", "separate", "vector")]
    comparison = compared([EvaluationResults.load(path) for path in paths])
    assert comparison.timed_apart == ["vector"]
    assert set(comparison.curves("seconds")) == {"none saved", "separate saved"}
    assert "vector saved" in comparison.curves("flops")
    with pytest.raises(ValueError, match="seconds of 'vector saved' were measured in another run"):
        comparison.at_equal_cost("seconds", "vector saved")
    assert "The milliseconds of vector belong to another run" in markdown_report(comparison)
    assert {one["run"] for one in comparison.equal_cost_data() if one["axis"] == "seconds"} == {"separate saved"}


def test_seconds_of_which_no_run_is_known_compare_with_no_others(evaluated, tmp_path):
    evaluated("none", "vector")
    found = []
    for name in ("none", "vector"):
        path = tmp_path / "results" / f"{name}.json"
        data = json.loads(path.read_text())
        del data["timing"]
        path.write_text(json.dumps(data))
        found.append(EvaluationResults.load(path))
    assert compared(found).timed_apart == ["vector"]


def test_seeds_that_each_took_turns_with_the_baselines_compare_as_means(evaluated):
    by_seed = [evaluated("none", "vector", folder=f"seed {seed}", seed=seed)[0].results for seed in (0, 1)]
    for seed, results in enumerate(by_seed):
        for one in results:
            one.model["fingerprint"] = f"{one.model['name']} {seed}"
    comparison = compared([over_seeds(found) for found in zip(*by_seed, strict=True)])
    assert comparison.timed_apart == [] and len(comparison.curves("seconds")) == 2
