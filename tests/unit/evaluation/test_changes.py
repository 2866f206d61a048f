"""Changes from a baseline, and their errors: by propagation, and over seeds."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from helpers.evaluations import results_of
from hypothesis import given
from hypothesis import strategies as st

from ladd_hf.evaluation.changes import Change, Score, relative, share_closed, with_seeds

scores = st.floats(0.5, 3.0)
errors = st.floats(1e-4, 2e-3)


def spread(function, *given):
    """The standard deviation of a function's value over independent normal draws of its scores."""
    random = np.random.default_rng(0)
    draws = [random.normal(one.value, one.stderr, 4000) for one in given]
    return statistics.stdev(function(*map(Score, map(float, drawn))).value for drawn in zip(*draws, strict=True))


@pytest.mark.parametrize("floor", [0.2, 0.6])
def test_the_error_of_a_share_is_its_spread_over_draws_of_the_scores(floor):
    given = Score(1.0, 0.02), Score(0.7, 0.01), Score(floor, 0.01)
    assert share_closed(*given).stderr == pytest.approx(spread(share_closed, *given), rel=0.06)


@pytest.mark.parametrize("measure", ["nats", "entropy"])
def test_the_error_of_a_relative_change_is_its_spread_over_draws_of_the_scores(measure):
    given = Score(2.0, 0.02), Score(1.5, 0.03)
    found = relative(measure, *given)
    assert found.stderr == pytest.approx(spread(lambda *pair: relative(measure, *pair), *given), rel=0.06)


@given(scores, scores, errors, errors)
def test_changes_do_not_depend_on_the_unit_and_errors_grow_with_those_of_the_scores(baseline, score, one, other):
    small = relative("entropy", Score(baseline, one), Score(score, other))
    scaled = relative("entropy", Score(7 * baseline, 7 * one), Score(7 * score, 7 * other))
    assert (scaled.value, scaled.stderr) == pytest.approx((small.value, small.stderr))
    doubled = relative("entropy", Score(baseline, 2 * one), Score(score, 2 * other))
    assert doubled.stderr == pytest.approx(2 * small.stderr)
    shifted = relative("nats", Score(baseline + 5, one), Score(score + 5, other))  # of perplexities only ratios count
    assert shifted.stderr == pytest.approx(relative("nats", Score(baseline, one), Score(score, other)).stderr)


def test_without_an_error_of_a_score_there_is_none_of_the_change_and_without_distance_no_change():
    assert share_closed(Score(2.0), Score(1.5, 0.1), Score(1.0, 0.0)) == Change(0.5, None)
    assert relative("nats", Score(1.0, 0.1), Score(1.0)).stderr is None
    assert share_closed(Score(1.0, 0.1), Score(2.0, 0.1), Score(1.0, 0.0)) is None
    assert relative("entropy", Score(0.0), Score(1.0)) is None and relative("nats", Score(0.0), Score(0.0)).value == 0


def test_over_seeds_the_error_is_that_of_the_mean_of_their_changes_if_each_has_one():
    mean, seeds = Change(0.5, 0.3), [Change(0.4), Change(0.5), Change(0.9)]
    found = with_seeds(mean, seeds)
    assert found.value == 0.5 and found.by_seed == (0.4, 0.5, 0.9)
    assert found.stderr == pytest.approx(statistics.stdev((0.4, 0.5, 0.9)) / 3**0.5)
    assert with_seeds(mean, [Change(0.4), None, Change(0.9)]) == Change(0.5, 0.3, (0.4, None, 0.9))
    assert with_seeds(mean, []) is mean and with_seeds(None, seeds) is None


def test_results_of_one_file_are_what_they_were():
    one = results_of("a", [("joint", 2, 5.0, 1.5)])
    assert type(one).of_data(one.data()) == one
