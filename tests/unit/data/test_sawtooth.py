"""The binary sawtooth has the likelihood and the entropy that its definition says, and not an approximation of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch.utils.data import DataLoader
from transformers import default_data_collator

from ladd_hf.data import SawtoothDistribution, sawtooth, sawtooth_dataset

SECOND_MOMENT = 1 / 4 + 0.98**2 / 12  # of p, uniform on [0.01, 0.99]


def all_sequences(length):
    return np.array(list(itertools.product((0, 1), repeat=length)))


def gauss_legendre(length, pieces_per_kink):
    """Nodes and weights over all of [0, 1], piece after piece, the kinks at k/4 - i/S found by listing them."""
    kinks = {round((k / 4 - i / length) % 1, 12) for k in range(4) for i in range(length)} | {1.0}
    edges = np.array(sorted(kinks))
    steps = np.arange(pieces_per_kink) / pieces_per_kink
    edges = np.append((edges[:-1, None] + np.diff(edges)[:, None] * steps).ravel(), 1.0)
    nodes, weights = np.polynomial.legendre.leggauss(length // 2 + 1)
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    return (middle[:, None] + half[:, None] * nodes).ravel(), (half[:, None] * weights).ravel()


def log_likelihood_by(sequences, nodes, weights):
    """log of the sum over nodes of weight times prod_i p_i(u)^x_i (1 - p_i(u))^(1 - x_i): the definition."""
    p = SawtoothDistribution(sequences.shape[1]).probabilities(nodes)
    x = sequences.astype(np.float64)
    return logsumexp(x @ np.log(p).T + (1 - x) @ np.log1p(-p).T, axis=1, b=weights)


# --- the wave ---


def test_wave_starts_low_and_peaks_a_quarter_later():
    p = SawtoothDistribution(8).probabilities([0.0, 0.25, 0.125])
    assert p.shape == (3, 8)
    np.testing.assert_allclose(p[:, 0], [0.01, 0.99, 0.5])


@pytest.mark.parametrize("length", [7, 12])
def test_wave_has_two_periods_and_travels_with_the_shift(length):
    distribution = SawtoothDistribution(length)
    shifts = np.linspace(0, 1, 23)
    p = distribution.probabilities(shifts)
    np.testing.assert_allclose(distribution.probabilities(shifts + 0.5), p, atol=1e-12)
    np.testing.assert_allclose(distribution.probabilities(shifts + 1 / length), np.roll(p, -1, axis=1), atol=1e-12)
    np.testing.assert_allclose(distribution.probabilities(shifts + 0.25), 1 - p, atol=1e-12)


# --- samples ---


def test_samples_have_the_pair_moments_of_the_wave():
    length, number = 16, 40_000
    x = SawtoothDistribution(length).sample(number, seed=1).astype(float)
    error = 5 * 0.5 / math.sqrt(number)
    assert abs(x.mean(0) - 1 / 2).max() < error
    same = (x[:, : length // 2] * x[:, length // 2 :]).mean(0)  # half the sequence apart: the same p
    assert abs(same - SECOND_MOMENT).max() < error
    opposite = (x[:, : length // 4] * x[:, length // 4 : length // 2]).mean(0)  # a quarter apart: p and 1 - p
    assert abs(opposite - (1 / 2 - SECOND_MOMENT)).max() < error


def test_a_sample_depends_on_seed_and_place_alone(monkeypatch):
    distribution = SawtoothDistribution(9)
    many = distribution.sample(50, seed=3)
    assert many.dtype == np.uint8 and many.shape == (50, 9) and set(np.unique(many)) == {0, 1}
    np.testing.assert_array_equal(distribution.sample(20, seed=3), many[:20])
    assert (distribution.sample(50, seed=4) != many).any()
    monkeypatch.setattr(sawtooth, "_CHUNK", 7 * 9)
    np.testing.assert_array_equal(distribution.sample(50, seed=3), many)


# --- likelihood ---


@pytest.mark.parametrize("length", [2, 3, 4, 5, 6, 7, 10, 12])
def test_probabilities_of_all_sequences_sum_to_one(length):
    log_p = SawtoothDistribution(length).log_likelihood(all_sequences(length))
    assert abs(np.exp(log_p).sum() - 1) < 1e-12


def test_two_tokens_have_the_closed_form():
    log_p = SawtoothDistribution(2).log_likelihood([[1, 1], [0, 0], [0, 1], [1, 0]])
    expected = [SECOND_MOMENT, SECOND_MOMENT, 1 / 2 - SECOND_MOMENT, 1 / 2 - SECOND_MOMENT]
    np.testing.assert_allclose(np.exp(log_p), expected, rtol=1e-13)


@pytest.mark.parametrize("length", [2, 3, 6, 15, 32, 63, 128])
def test_halving_every_piece_of_the_integral_changes_nothing(length):
    distribution = SawtoothDistribution(length)
    typical = distribution.sample(20, seed=0)
    unlikely = np.random.default_rng(0).integers(0, 2, (20, length))
    sequences = np.concatenate([typical, unlikely])
    log_p = distribution.log_likelihood(sequences)
    for pieces_per_kink in (1, 2):
        halved = log_likelihood_by(sequences, *gauss_legendre(length, pieces_per_kink))
        np.testing.assert_allclose(log_p, halved, rtol=0, atol=1e-10)


@pytest.mark.parametrize("length", [5, 32, 128])
def test_a_fine_midpoint_rule_converges_to_the_likelihood_at_its_own_second_order(length):
    distribution = SawtoothDistribution(length)
    sequences = distribution.sample(20, seed=0)
    log_p = distribution.log_likelihood(sequences)
    errors = []
    for cells_per_kink in (16, 32):
        number = cells_per_kink * 4 * length  # no kink inside a cell
        midpoints = (np.arange(number) + 0.5) / number
        coarse = log_likelihood_by(sequences, midpoints, np.full(number, 1 / number))
        errors.append(abs(coarse - log_p).max())
    assert errors[1] < 1e-3
    assert errors[1] / errors[0] == pytest.approx(1 / 4, rel=0.05)


@pytest.mark.parametrize("length", [9, 16])
def test_turning_mirroring_and_swapping_tokens_keeps_the_likelihood(length):
    distribution = SawtoothDistribution(length)
    sequences = np.random.default_rng(0).integers(0, 2, (50, length))
    log_p = distribution.log_likelihood(sequences)
    for twin in (np.roll(sequences, 1, axis=1), sequences[:, ::-1], 1 - sequences):
        np.testing.assert_allclose(distribution.log_likelihood(twin), log_p, rtol=0, atol=1e-11)


def test_likelihood_does_not_depend_on_the_batch_it_is_computed_in(monkeypatch):
    distribution = SawtoothDistribution(16)
    sequences = distribution.sample(30, seed=0)
    together = distribution.log_likelihood(sequences)
    monkeypatch.setattr(sawtooth, "_CHUNK", 1)
    np.testing.assert_allclose(distribution.log_likelihood(sequences), together, rtol=0, atol=1e-12)


# --- entropy ---


@pytest.mark.parametrize("length", [2, 3, 8, 9, 12])
def test_entropy_is_the_sum_over_all_sequences(length):
    log_p = SawtoothDistribution(length).log_likelihood(all_sequences(length))
    entropy = SawtoothDistribution(length).entropy()
    assert entropy.standard_error == 0.0
    assert entropy.nats == pytest.approx(-(np.exp(log_p) * log_p).sum(), abs=1e-11)


@pytest.mark.parametrize("length", [32, 64])
def test_entropy_is_the_mean_surprise_of_samples(length):
    number = 10_000
    distribution = SawtoothDistribution(length)
    surprise = -distribution.log_likelihood(distribution.sample(number, seed=5))
    entropy = distribution.entropy()
    assert (entropy.standard_error == 0.0) == (length <= 32)  # as far as all count vectors can be listed
    error = math.hypot(surprise.std() / math.sqrt(number), entropy.standard_error)
    assert abs(surprise.mean() - entropy.nats) < 5 * error


def test_estimated_entropy_is_unbiased_with_an_honest_standard_error():
    distribution = SawtoothDistribution(12)
    exact = distribution.entropy().nats
    estimates = [sawtooth.estimated_entropy(distribution, 500, seed) for seed in range(200)]
    z = np.array([(estimate.nats - exact) / estimate.standard_error for estimate in estimates])
    assert abs(z.mean()) < 5 / math.sqrt(len(z))
    assert z.std() == pytest.approx(1, abs=5 / math.sqrt(2 * len(z)))


@pytest.mark.parametrize("length", [64, 128])
def test_entropy_of_long_sequences_is_known_to_a_ten_thousandth_of_a_nat_per_token(length):
    entropy = SawtoothDistribution(length).entropy()
    assert 0 < entropy.standard_error / length < 1e-4


def test_entropy_is_computed_once_for_a_length():
    assert SawtoothDistribution(20).entropy() is SawtoothDistribution(20).entropy()


# --- errors ---


@pytest.mark.parametrize("length", [1, 0, -4, 2.5, "32"])
def test_a_length_that_is_no_integer_of_two_or_more_is_refused(length):
    with pytest.raises(ValueError, match="an integer of 2 or more is accepted"):
        SawtoothDistribution(length)


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], r"empty \(shape \(0,\)\)"),
        ([0, 1, 0, 1], r"shape \(4,\).*\(N, S\) is accepted"),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\).*\(N, S\) is accepted"),
        ([[0, 1, 0, 1], [0, 1]], "differ in length"),
        ([[0, 1, 2, 1]], "token id 2, but 0 and 1 are accepted.*mask token"),
        ([[0, 1, -100, 1]], "token id -100"),
        ([[0, 1, math.nan, 1]], "token id nan"),
        ([[0, 1, 0]], r"3 tokens, but this distribution has 4: use `SawtoothDistribution\(3\)`"),
    ],
)
def test_what_is_no_array_of_binary_sequences_is_refused(sequences, message):
    with pytest.raises(ValueError, match=message):
        SawtoothDistribution(4).log_likelihood(sequences)


# --- dataset ---


def test_dataset_holds_the_samples_at_one_byte_per_token():
    dataset = sawtooth_dataset(100, length=16, seed=2)
    assert dataset.column_names == ["input_ids"]
    assert dataset.data.nbytes == 100 * 16
    np.testing.assert_array_equal(dataset[:]["input_ids"], SawtoothDistribution(16).sample(100, seed=2))


def test_dataset_examples_depend_on_seed_and_place_alone():
    few, many = (sawtooth_dataset(number, seed=7)[:]["input_ids"] for number in (10, 30))
    assert many.shape == (30, 32)
    assert torch.equal(few, many[:10])
    assert not torch.equal(sawtooth_dataset(10, seed=8)[:]["input_ids"], few)


def test_default_collator_makes_batches_a_model_takes():
    loader = DataLoader(sawtooth_dataset(64, length=16), batch_size=32, collate_fn=default_data_collator)
    batches = [batch["input_ids"] for batch in loader]
    assert [batch.shape for batch in batches] == [(32, 16)] * 2
    assert all(batch.dtype == torch.int64 for batch in batches)
