"""Distances between laws of sequences: none between a set and itself, those of the definition otherwise."""

from __future__ import annotations

import math

import evaluate
import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import entropy

from ladd_hf.metrics import DistributionDistance, distribution_distance, sliced_wasserstein, token_kl
from ladd_hf.metrics.distribution_distance import between_halves

RANDOM = np.random.default_rng(0)


def drawn(count, p=(0.5, 0.3, 0.2), length=4, seed=0):
    return np.random.default_rng(seed).choice(len(p), (count, length), p=p)


@pytest.mark.parametrize("distance", [sliced_wasserstein, token_kl])
def test_there_is_none_between_a_set_and_itself_in_any_order(distance):
    rows = drawn(60)
    assert distance(rows, RANDOM.permutation(rows)).value == pytest.approx(0, abs=1e-12)
    assert distance(rows, np.repeat(rows, 3, 0)).value == pytest.approx(0, abs=1e-3)  # but for the pseudocounts


def test_the_sliced_distance_is_symmetric_and_the_divergence_is_not():
    one, other = drawn(50), drawn(70, (0.1, 0.2, 0.7), seed=1)
    assert sliced_wasserstein(one, other).value == pytest.approx(sliced_wasserstein(other, one).value)
    assert token_kl(one, other).value != pytest.approx(token_kl(other, one).value)


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize("repeats", [1, 3])
def test_the_sliced_distance_is_that_of_the_definition(embedded, repeats):
    """Optimal matchings of the projected vectors, found by a solver; a set thrice is the same law."""
    one, other = drawn(12), drawn(12, (0.1, 0.2, 0.7), seed=1)
    table = RANDOM.normal(size=(3, 2)) if embedded else np.eye(3)
    squares = []
    for stream in np.random.SeedSequence(5).spawn(9):
        direction = np.random.default_rng(stream).standard_normal((4, table.shape[1]))
        direction /= np.linalg.norm(direction)
        left, right = ((table[ids] * direction).sum((1, 2)) for ids in (one, other))
        costs = np.square(left[:, None] - right)
        squares.append(costs[linear_sum_assignment(costs)].mean())
    given = table if embedded else None
    found = sliced_wasserstein(one, np.repeat(other, repeats, 0), given, projections=9, seed=5)
    assert found.value == pytest.approx(math.sqrt(np.mean(squares)))


def test_the_divergence_is_that_of_the_frequencies():
    one, other = drawn(50), drawn(70, (0.1, 0.2, 0.7), seed=1)
    p, q = (np.bincount(ids.ravel(), minlength=3) for ids in (one, other))
    assert token_kl(one, other, pseudocount=0).value == pytest.approx(entropy(p, q))
    assert token_kl(one, other).value == pytest.approx(entropy(p + 0.5, q + 0.5))


def test_an_id_that_references_never_have_costs_what_the_pseudocount_says():
    one, other = np.array([[0, 7]]), np.array([[0, 0]])
    assert token_kl(one, other, pseudocount=0).value == math.inf
    assert math.isfinite(token_kl(one, other).value)
    assert token_kl(other, one, pseudocount=0).value == pytest.approx(math.log(2))


@pytest.mark.parametrize("distance", [sliced_wasserstein, token_kl])
def test_more_samples_of_one_law_are_nearer_and_another_law_is_farther(distance):
    few, many = between_halves(distance, drawn(100, seed=2)), between_halves(distance, drawn(3200, seed=3))
    apart = distance(drawn(1600, seed=4), drawn(1600, (0.2, 0.3, 0.5), seed=5))
    assert 0 < many.value < few.value / 3 and apart.value > 5 * many.value + 5 * apart.stderr


@pytest.mark.parametrize("distance", [sliced_wasserstein, token_kl])
def test_the_error_is_the_spread_of_other_draws(distance):
    references = drawn(400, (0.2, 0.3, 0.5), seed=9)
    values = [distance(drawn(300, seed=seed), references, resamples=2).value for seed in range(10, 50)]
    stderr = distance(drawn(300, seed=8), references).stderr
    assert stderr == pytest.approx(np.std(values), rel=0.4)


def test_directions_are_seeded_and_more_of_them_include_the_same():
    one, other = drawn(30), drawn(30, (0.1, 0.2, 0.7), seed=1)
    assert sliced_wasserstein(one, other) == sliced_wasserstein(torch.from_numpy(one), torch.from_numpy(other))
    assert sliced_wasserstein(one, other).value != sliced_wasserstein(one, other, seed=1).value
    halves = [sliced_wasserstein(one, other, projections=count, seed=3).value ** 2 for count in (1, 2)]
    second = 2 * halves[1] - halves[0]
    assert second > 0  # the mean of the first direction and another one
    wide, wider = (sliced_wasserstein(one, other, vocab_size=size).value for size in (3, 9))
    assert wide == sliced_wasserstein(one, other).value != wider


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ([[0.5]], [[1]], "samples have shape .* dtype float64"),
        ([[1]], [1], "references have shape"),
        ([[-1]], [[1]], "ids of 0 or more"),
        ([[1, 2]], [[1]], "samples have 2 tokens, the references 1"),
        (np.zeros((0, 2), int), [[1, 1]], "samples have shape"),
    ],
)
def test_what_is_no_set_of_sequences_is_refused(one, other, message):
    for distance in (sliced_wasserstein, token_kl):
        with pytest.raises(ValueError, match=message):
            distance(one, other)


def test_an_embedding_without_a_row_for_each_id_and_a_lone_reference_are_refused():
    with pytest.raises(ValueError, match="V of 3 or more"):
        sliced_wasserstein([[2]], [[1]], np.eye(2))
    with pytest.raises(ValueError, match="`vocab_size` is 2, but there are ids up to 2"):
        sliced_wasserstein([[2]], [[1]], vocab_size=2)
    with pytest.raises(ValueError, match="no two halves"):
        between_halves(token_kl, [[1]])


def test_the_measurement_has_what_equal_laws_score_beside(tmp_path):
    one, other = drawn(40), drawn(60, seed=1)
    loaded = evaluate.load(
        distribution_distance.__file__, module_type="measurement", references=other, cache_dir=str(tmp_path)
    )
    result = loaded.compute(data=one)
    assert result == DistributionDistance(other, cache_dir=str(tmp_path)).compute(data=one)
    assert result["token_kl"] == token_kl(one, other).value and result["token_kl_stderr"] > 0
    assert result["sliced_wasserstein_of_references"] == between_halves(sliced_wasserstein, other).value
    assert result["projections"] == 128
