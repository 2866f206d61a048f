"""Several trainings of a model as one: means, and errors of the mean over them."""

from __future__ import annotations

import json
import math
import statistics

import pytest
from helpers.evaluations import results_of

from ladd_hf.evaluation import compared, markdown_report
from ladd_hf.evaluation.comparison_files import load_comparison
from ladd_hf.evaluation.seeds import compared_over_seeds, over_seeds


def seeds(*scores):
    found = []
    for seed, score in enumerate(scores):
        rows = [("joint", 2, 5.0, score), ("joint", 4, 10.0, score / 2)]
        found.append(results_of("a", rows, settings={"seed": seed}))
        found[-1].model["fingerprint"] = f"weights of seed {seed}"
    return found


def test_scores_are_means_with_the_error_of_the_mean_over_seeds():
    scores = [1.0, 1.5, 2.2]
    found = over_seeds(seeds(*scores))
    row = found.find(("joint", 1.0, 2))
    assert row["nats"] == pytest.approx(statistics.fmean(scores)) and row["flops"] == 5.0 and row["nfe"] == 2
    assert row["nats_stderr"] == pytest.approx(statistics.stdev(scores) / 3**0.5)
    assert found.settings["seed"] == [0, 1, 2] and "fingerprint" not in found.model
    assert f"{row['nats']:.4f} ± {row['nats_stderr']:.4f}" in markdown_report(compared([found]))


def of_seeds(name, *scores, exact=True):
    found = []
    for seed, score in enumerate(scores):
        found.append(results_of(name, [("saved", 2, 5.0, score)], exact=exact, settings={"seed": seed}))
        found[-1].model["fingerprint"] = f"{name} {seed}"
    return found


def test_shares_are_told_for_each_seed_with_the_error_of_their_mean(tmp_path):
    """The data itself scores 1.25."""
    comparison = compared_over_seeds([of_seeds("a", 2.25, 3.25), of_seeds("b", 1.25, 2.25)], "a saved")
    (run,) = comparison.at_equal_cost("nfe", "b saved")
    assert run.change == run.closed and run.change.by_seed == pytest.approx((1.0, 0.5))
    assert run.change.value == pytest.approx(1 / 1.5)  # of the means: from 2.75 to 1.75
    assert run.change.stderr == pytest.approx(0.25)
    report = markdown_report(comparison)
    assert "| evaluations (at seeds 0, 1) | 2 |" in report and "| b saved | +66.7% ± 25.0% (+100%, +50%) |" in report
    assert "Change of" not in report  # of an exact judge both are the same
    path = tmp_path / "comparison.json"
    path.write_text(json.dumps(comparison.data()))
    again = load_comparison(path)
    assert again.data() == comparison.data() and markdown_report(again) == report
    turned = load_comparison(path, "b saved")
    assert turned.baseline() == "b saved"
    assert turned.at_equal_cost("nfe", "a saved")[0].change.by_seed == (None, -1.0)  # at the data's score: no distance


def test_a_comparison_of_one_seed_is_read_as_it_was_and_other_files_are_refused(tmp_path):
    comparison = compared_over_seeds([of_seeds("a", 2.25), of_seeds("b", 1.5)])
    assert not comparison.by_seed and comparison.results[0].settings["seed"] == 0
    path = tmp_path / "comparison.json"
    path.write_text(json.dumps(comparison.data()))
    assert markdown_report(load_comparison(path)) == markdown_report(comparison)
    for wrong in ("{}", "[]", "no JSON", '{"models": [{"format": 0}]}'):
        path.write_text(wrong)
        with pytest.raises(ValueError, match="does not hold a comparison of models"):
            load_comparison(path)


def test_models_of_other_seeds_are_refused():
    with pytest.raises(ValueError, match="differ in `seed"):
        compared_over_seeds([of_seeds("a", 2.25, 3.25, 2.0), of_seeds("b", 1.25, 2.25)])


def test_measures_of_the_model_are_means_too():
    found = seeds(1.0, 2.0, 3.0)
    for one, dead in zip(found, (4, 5, 9), strict=True):
        numbers = [{"name": "codes_dead", "metric": "codes that do not occur", "better": "lower", "digits": 1}]
        one.measures["code_usage"] = {"about": "a", "numbers": numbers, "scores": {"codes_dead": dead}}
        one.measures["gone"] = {"about": "b", "lacking": "codes"}
    (entry,) = over_seeds(found).measures.values()
    assert entry["scores"]["codes_dead"] == 6
    assert entry["scores"]["codes_dead_stderr"] == pytest.approx(statistics.stdev((4, 5, 9)) / 3**0.5)
    del found[0].measures["code_usage"]
    assert over_seeds(found).measures == {}


def test_bounds_in_continuous_time_are_means_and_perplexity_that_of_the_mean():
    found = seeds(1.0, 2.0)
    for one, nats in zip(found, (1.0, 3.0), strict=True):
        bound = {"nats_per_token": nats, "nats_per_token_stderr": 9.0, "token_nats": nats, "latent_nats": 0.0}
        one.bounds = {"joint": {**bound, "perplexity": math.exp(nats), "texts": 4}}
    found[0].bounds["bent"] = found[0].bounds["joint"]  # which the other seed lacks
    (path, mean), *others = over_seeds(found).bounds.items()
    assert (path, others) == ("joint", []) and mean["nats_per_token"] == 2.0
    assert mean["nats_per_token_stderr"] == pytest.approx(1.0) and mean["perplexity"] == math.exp(2.0)
    assert "| a | joint | 2.0000 ± 1.0000 | 2.0000 | 0.0000 | 7.39 | 4 |" in markdown_report(
        compared([over_seeds(found)])
    )


def test_rows_that_a_seed_lacks_are_left_out():
    one, other = seeds(1.0, 2.0)
    del other.rows[0]
    assert [row["num_steps"] for row in over_seeds([one, other]).rows] == [4]


def test_one_seed_and_other_settings_are_refused():
    with pytest.raises(ValueError, match="results of one seed, which have no spread"):
        over_seeds(seeds(1.0))
    one, other = seeds(1.0, 2.0)
    other.model["fingerprint"] = one.model["fingerprint"]
    with pytest.raises(ValueError, match="of the same weights"):
        over_seeds([one, other])
    one, other = seeds(1.0, 2.0)
    other.model["method"] = "another"
    with pytest.raises(ValueError, match="models with another `method`"):
        over_seeds([one, other])
    one, other = seeds(1.0, 2.0)
    other.settings["num_samples"] = 9
    with pytest.raises(ValueError, match=r"two seeds differ in `num_samples` \(7, not 9\)"):
        over_seeds([one, other])
