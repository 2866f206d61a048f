"""Perfect samples of the sawtooth measure its entropy; worse ones lie above it, collapsed ones below."""

from __future__ import annotations

import math
import socket
from pathlib import Path

import evaluate
import numpy as np
import pytest
import torch

from ladd_hf.data import SawtoothDistribution
from ladd_hf.metrics import SawtoothLikelihood, sawtooth_likelihood

LENGTH = 16


@pytest.fixture
def measurement(tmp_path):
    return SawtoothLikelihood(cache_dir=str(tmp_path))


@pytest.fixture(scope="module")
def samples():
    return SawtoothDistribution(LENGTH).sample(2000, seed=0)


def test_perfect_samples_measure_the_entropy(measurement, samples):
    result = measurement.compute(data=samples)
    assert result["entropy_per_token"] == pytest.approx(SawtoothDistribution(LENGTH).entropy().nats / LENGTH)
    assert result["entropy_per_token_stderr"] == 0.0
    assert abs(result["nats_per_token"] - result["entropy_per_token"]) < 5 * result["nats_per_token_stderr"]


def test_result_is_the_mean_over_sequences_per_token(measurement, samples):
    nats = -SawtoothDistribution(LENGTH).log_likelihood(samples) / LENGTH
    result = measurement.compute(data=samples)
    assert result["nats_per_token"] == pytest.approx(nats.mean())
    assert result["nats_per_token_stderr"] == pytest.approx(nats.std(ddof=1) / math.sqrt(len(nats)))


def test_coin_flips_lie_above_the_entropy_and_one_repeated_best_sequence_below(measurement, samples):
    coins = measurement.compute(data=np.random.default_rng(0).integers(0, 2, samples.shape))
    assert coins["nats_per_token"] > coins["entropy_per_token"] + 5 * coins["nats_per_token_stderr"]
    best = samples[SawtoothDistribution(LENGTH).log_likelihood(samples).argmax()]
    collapsed = measurement.compute(data=np.tile(best, (10, 1)))
    assert collapsed["nats_per_token"] < collapsed["entropy_per_token"]
    assert collapsed["nats_per_token_stderr"] == pytest.approx(0, abs=1e-12)


def test_arrays_lists_and_tensors_measure_the_same(measurement, samples):
    few = samples[:20]
    expected = measurement.compute(data=few)
    for same in (
        few.tolist(),
        few.astype(np.int64),
        torch.from_numpy(few).long(),
        list(torch.from_numpy(few)),
    ):
        assert measurement.compute(data=same) == expected


def test_batches_added_one_by_one_measure_the_same_as_all_at_once(measurement, samples):
    expected = measurement.compute(data=samples[:50])
    measurement.add_batch(data=samples[:30])
    measurement.add_batch(data=samples[30:50])
    assert measurement.compute() == expected


def test_a_single_sequence_has_no_standard_error(measurement, samples):
    result = measurement.compute(data=samples[:1])
    assert math.isfinite(result["nats_per_token"])
    assert math.isnan(result["nats_per_token_stderr"])


def test_evaluate_loads_the_file_without_a_network(monkeypatch, tmp_path, measurement, samples):
    def refuse(*_):
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    file = Path(sawtooth_likelihood.__file__)
    loaded = evaluate.load(str(file), module_type="measurement", cache_dir=str(tmp_path / "loaded"))
    assert loaded.compute(data=samples[:20]) == measurement.compute(data=samples[:20])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([[0, 1], [2, 1]], "token id 2, but 0 and 1 are accepted: .*mask token"),
        (
            [0, 1, 1],
            r"shape \(3,\), but an array of shape \(N, S\) is accepted: put a single sequence into a list",
        ),
        ([], r"empty \(shape \(0,\)\), but one or more are accepted: give"),
        ([[0], [1]], "`length` is 1, but an integer of 2 or more is accepted: give"),
        ([[0, 1], [1]], "differ in length or nesting, but .* is accepted: give sequences of one length"),
    ],
)
def test_other_data_is_refused_before_anything_is_written(measurement, samples, tmp_path, data, message):
    with pytest.raises(ValueError, match=message):
        measurement.compute(data=data)
    assert not list(tmp_path.rglob("*.arrow"))
    assert math.isfinite(measurement.compute(data=samples[:2])["nats_per_token"])
