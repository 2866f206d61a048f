"""Standard errors: those that theory gives, where it gives them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ladd_hf.metrics.bootstrap import Estimate, bootstrap_counts, bootstrap_ratio, bootstrap_statistic, jackknife

VALUES = np.random.default_rng(0).normal(3, 2, 400)


def test_the_error_of_a_mean_is_the_deviation_over_the_root_of_the_number():
    estimate = bootstrap_ratio(VALUES, resamples=4000)
    assert estimate.value == pytest.approx(VALUES.mean())
    # the relative Monte Carlo error of a deviation of 4,000 draws is 1 / sqrt(8,000) = 1.1%
    assert estimate.stderr == pytest.approx(VALUES.std() / math.sqrt(400), rel=0.045)


def test_the_error_of_a_ratio_is_the_linearised_one():
    weights = np.random.default_rng(1).integers(1, 20, 400)
    estimate = bootstrap_ratio(VALUES * weights, weights, resamples=4000)
    ratio = (VALUES * weights).sum() / weights.sum()
    expected = math.sqrt((((VALUES - ratio) * weights) ** 2).sum()) / weights.sum()
    assert estimate.value == pytest.approx(ratio) and estimate.stderr == pytest.approx(expected, rel=0.06)


def test_a_transformed_score_has_the_error_of_the_delta_method():
    estimate = bootstrap_ratio(VALUES / 10, transform=np.exp, resamples=4000)
    assert estimate.value == pytest.approx(math.exp(VALUES.mean() / 10))
    assert estimate.stderr == pytest.approx(estimate.value * VALUES.std() / 10 / math.sqrt(400), rel=0.05)


def test_any_statistic_has_the_error_of_its_mean_where_it_is_one():
    general = bootstrap_statistic(list(VALUES), lambda drawn: sum(drawn) / len(drawn), resamples=1000)
    assert general.value == pytest.approx(VALUES.mean())
    assert general.stderr == pytest.approx(bootstrap_ratio(VALUES, resamples=1000).stderr, rel=0.1)


def test_the_jackknife_of_a_mean_is_its_standard_error_exactly():
    without = (VALUES.sum() - VALUES) / (len(VALUES) - 1)
    assert jackknife(3.0, without).stderr == pytest.approx(VALUES.std(ddof=1) / math.sqrt(400))


def test_order_and_samples_without_anything_to_measure_change_nothing():
    weights = np.random.default_rng(2).integers(1, 9, 400).astype(float)
    shuffled = np.random.default_rng(3).permutation(400)
    expected = bootstrap_ratio(VALUES, weights)
    assert bootstrap_ratio(VALUES[shuffled], weights[shuffled]) == expected
    assert bootstrap_ratio([*VALUES, 0.0, 0.0], [*weights, 0.0, 0.0]) == expected
    assert bootstrap_ratio(VALUES, weights, seed=1) != expected


def test_draws_are_of_as_many_samples_with_replacement():
    draws = np.stack(list(bootstrap_counts(50, 2000, 0)))
    assert (draws.sum(1) == 50).all()
    assert draws.mean(0) == pytest.approx(np.ones(50), abs=0.12)
    assert draws.var() == pytest.approx(1 - 1 / 50, rel=0.02)  # of a multinomial of 50 equal cells


def test_many_draws_are_computed_in_parts(monkeypatch):
    whole = bootstrap_ratio(VALUES, resamples=70)
    monkeypatch.setattr("ladd_hf.metrics.bootstrap._NUMBERS_AT_ONCE", 400 * 30)
    assert bootstrap_ratio(VALUES, resamples=70).stderr == pytest.approx(whole.stderr)


def test_a_single_sample_has_no_error():
    assert bootstrap_ratio([2.0]) == Estimate(2.0) == bootstrap_statistic([2.0], sum) == jackknife(2.0, [0.0])
    assert Estimate(2.0).named("nats") == {"nats": 2.0}
    assert Estimate(2.0, 0.5).named("nats") == {"nats": 2.0, "nats_stderr": 0.5}


@pytest.mark.parametrize(
    ("numerators", "denominators", "message"),
    [
        ([1.0, math.nan], None, "hold nan at sample 1"),
        ([1.0, 2.0], [1.0], r"shapes \(2,\) and \(1,\)"),
        ([0.0], [0.0], "all 0, or negative"),
        ([1.0, 1.0], [2.0, -1.0], "all 0, or negative"),
        ([], None, "all 0, or negative"),
    ],
)
def test_what_has_no_mean_is_refused(numerators, denominators, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_ratio(numerators, denominators)
    with pytest.raises(ValueError, match="no samples"):
        bootstrap_statistic([], sum)


def test_a_single_draw_has_no_spread():
    with pytest.raises(ValueError, match="`resamples` is 1; give a whole number of at least 2"):
        bootstrap_ratio(VALUES, resamples=1)
