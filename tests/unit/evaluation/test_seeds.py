"""Several trainings of a model as one: means, and errors of the mean over them."""

from __future__ import annotations

import math
import statistics

import pytest
from helpers.evaluations import results_of

from ladd_hf.evaluation import compared, markdown_report
from ladd_hf.evaluation.seeds import over_seeds


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
