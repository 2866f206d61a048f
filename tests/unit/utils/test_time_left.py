"""Seconds that are left: the rest of the work at the speed of what is done."""

from __future__ import annotations

import pytest

from ladd_hf.utils.time_left import TimeLeft


@pytest.mark.parametrize("parts", [[1] * 8, [1, 2, 5], [8], [5, 2, 1]])
def test_work_of_one_speed_ends_when_it_was_said_to(monkeypatch, parts):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    clock, end = TimeLeft(sum(parts)), now + 3 * sum(parts)
    for part in parts:
        now += 3 * part
        assert now + clock.after(part) == pytest.approx(end)
    assert clock.after(1) == 0, "nor less than nothing, where there was more to do"
    assert clock.passed == pytest.approx(3 * sum(parts))


def test_slower_work_takes_longer(monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    clock = TimeLeft(10)
    now = 5.0
    first = clock.after(5)
    now = 25.0
    assert (first, clock.after(1)) == (5.0, pytest.approx(25 * 4 / 6))
