"""Timing takes turns: each call once a round, in an order that turns, against a clock that is ours."""

from __future__ import annotations

import statistics
from types import SimpleNamespace

import pytest

from ladd_hf.metrics import sampling_time
from ladd_hf.metrics.sampling_time import interleaved_seconds, sampling_seconds


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on where a call tells it to."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(sampling_time.time, "perf_counter", lambda: clock.now)
    return clock


class Run:
    """A run of known seconds, which grow as the machine slows down."""

    def __init__(self, name, clock, seconds, calls, batch_size=4):
        self.name, self.clock, self.seconds, self.calls, self.batch_size = name, clock, seconds, calls, batch_size

    def __call__(self):
        self.calls.append(self.name)
        self.clock.now += self.seconds * (1 + len(self.calls) // 3)  # slower in each round of three


def test_every_round_has_all_calls_and_each_round_begins_with_the_next(clock):
    calls = []
    found = interleaved_seconds({name: Run(name, clock, 1.0, calls) for name in "abc"}, rounds=3)
    assert "".join(calls) == "abc" + "bca" + "cab" + "abc"  # the first round is not counted
    assert {name: len(times) for name, times in found.items()} == {"a": 3, "b": 3, "c": 3}


def test_seconds_are_medians_per_sample_with_the_error_of_a_median(clock):
    runs = {name: Run(name, clock, seconds, []) for name, seconds in {"quick": 1.0, "slow": 8.0}.items()}
    for run in runs.values():
        run.calls.extend([0] * 100)
    found = sampling_seconds(runs, rounds=4)
    each = [8.0 * (1 + number // 3) / 4 for number in range(102, 106)]
    assert found["slow"].value == pytest.approx(statistics.median(each))
    assert found["slow"].stderr == pytest.approx(1.2533 * statistics.stdev(each) / 2)
    assert found["slow"].value == pytest.approx(8 * found["quick"].value)


def test_one_round_has_no_error_and_no_round_is_refused(clock):
    assert sampling_seconds({"a": Run("a", clock, 1.0, [])}, rounds=1)["a"].stderr is None
    assert interleaved_seconds({}, 2) == {}
    with pytest.raises(ValueError, match="`rounds` is 0"):
        interleaved_seconds({}, 0)
