"""The loss's parts are averaged between logs, and the first that is no number is named with its step."""

from __future__ import annotations

import math

import pytest
import torch

from ladd_hf.training.loss_monitor import LossMonitor, NonFiniteLossError


def parts(**values):
    return {name: torch.tensor(float(value)) for name, value in values.items()}


def test_means_are_taken_since_the_last_ones():
    monitor = LossMonitor()
    for step, value in enumerate((1, 2, 6)):
        monitor.add(parts(token_loss=value, latent_loss=10 * value), step)
    assert {name: float(mean) for name, mean in monitor.means().items()} == {"token_loss": 3, "latent_loss": 30}
    assert monitor.means() == {}
    monitor.add(parts(token_loss=5), 3)
    assert float(monitor.means()["token_loss"]) == 5


def test_accumulated_batches_of_a_step_add_up():
    monitor = LossMonitor()
    for step, value in ((0, 1), (0, 2), (1, 3), (1, 6)):
        monitor.add(parts(a=value), step)
    assert float(monitor.means()["a"]) == 6
    monitor.add(parts(a=4), 1)
    assert float(monitor.means()["a"]) == 4, "whatever was added before the last means"


def test_a_part_that_comes_now_and_then_is_averaged_over_where_it_came():
    monitor = LossMonitor()
    monitor.add(parts(a=1), 0)
    monitor.add(parts(a=3, b=8), 1)
    assert {name: float(mean) for name, mean in monitor.means().items()} == {"a": 2, "b": 8}


def test_small_losses_are_not_lost_in_a_long_sum():
    monitor = LossMonitor()
    monitor.add(parts(a=2**26), 0)
    for step in range(1, 1001):
        monitor.add(parts(a=1), step)
    assert float(monitor.means()["a"]) * 1001 == pytest.approx(2**26 + 1000, abs=1e-3)


def test_what_is_watched_keeps_no_graph():
    monitor = LossMonitor()
    monitor.add({"a": torch.ones((), requires_grad=True) * 2}, 0)
    assert not monitor.means()["a"].requires_grad


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_named_with_its_step(value):
    monitor = LossMonitor()
    for step in range(5):
        monitor.add(parts(token_loss=1, latent_loss=value if step >= 2 else 1), step)
    with pytest.raises(NonFiniteLossError, match="`latent_loss` was not finite at step 3: training stops"):
        monitor.check()


def test_the_first_part_to_fail_is_named_even_if_a_log_came_between():
    monitor = LossMonitor()
    monitor.add(parts(a=1, b=math.nan), 4)
    monitor.means()
    monitor.add(parts(a=math.nan, b=1), 5)
    with pytest.raises(NonFiniteLossError, match="`b` was not finite at step 5"):
        monitor.check()


def test_numbers_pass():
    monitor = LossMonitor()
    monitor.check()
    monitor.add(parts(a=1e30, b=-1e-30, c=0), 0)
    monitor.check()


def test_what_is_guarded_is_not_averaged():
    monitor = LossMonitor()
    monitor.guard("norm", torch.tensor(3.0), 0)
    assert monitor.means() == {}
    monitor.guard("norm", torch.tensor(math.inf), 1)
    with pytest.raises(NonFiniteLossError, match="`norm` was not finite at step 2"):
        monitor.check()


def test_every_process_stops_where_one_of_them_fails():
    monitor = LossMonitor()
    monitor.add(parts(a=1, b=2), 0)
    monitor.check(lambda own: own)
    of_another = torch.tensor([[math.inf, 7.0]], dtype=torch.float64)  # there, b failed at step 8
    with pytest.raises(NonFiniteLossError, match="`b` was not finite at step 8"):
        monitor.check(lambda own: torch.cat([own, of_another]))
