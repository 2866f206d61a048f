"""The noise schedule `table`: it goes through its points, always falls, and is saved with what has it."""

from __future__ import annotations

import json
import math
import pickle

import pytest
import torch

from ladd_hf import LaddConfig, LaddSequentialScheduler, NoiseProcess
from ladd_hf.diffusion.noise_schedules import gaussian_schedule
from ladd_hf.diffusion.tabulated_signal import TabulatedSignal

UNEVEN = [1.0, 0.9999, 0.5, 0.499, 0.02, 1e-6, 0.0]


def times(count):
    return torch.linspace(0, 1, count, dtype=torch.float64)


@pytest.mark.parametrize("values", [[1, 0], [1, 0.3, 0], UNEVEN], ids=len)
def test_it_goes_through_its_points(values):
    found = TabulatedSignal.of(values)(times(len(values)))
    torch.testing.assert_close(found, torch.tensor(values, dtype=torch.float64), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("values", [[1, 0.3, 0], UNEVEN, [1, 1 - 1e-4, 1e-4, 0]], ids=str)
def test_it_falls_everywhere_without_jumps(values):
    signal = TabulatedSignal.of(values)
    assert (signal(times(501)).diff() < 0).all()
    t = times(20_001)[1:-1].requires_grad_()
    (slopes,) = torch.autograd.grad(signal(t).sum(), t)
    assert slopes.diff().abs().max() < 0.05 * slopes.abs().max()


def test_the_ends_alone_are_the_cosine():
    torch.testing.assert_close(TabulatedSignal.of([1, 0])(times(50)), torch.cos(math.pi / 2 * times(50)) ** 2)


def test_points_of_a_smooth_schedule_give_it_back():
    tan = gaussian_schedule({"name": "tan", "d": 3, "eps": 1e-12})
    values = tan.signal_variance(times(65)).tolist()
    values = [1.0, *values[1:-1], 0.0]
    table = gaussian_schedule({"name": "table", "signal_variance": values, "eps": 1e-12})
    torch.testing.assert_close(table.signal_variance(times(1000)), tan.signal_variance(times(1000)), rtol=0, atol=2e-4)


def test_times_outside_are_those_of_the_ends_and_shape_and_dtype_are_kept():
    signal = TabulatedSignal.of(UNEVEN)
    assert torch.equal(signal(torch.tensor([-0.5, 1.5])), signal(torch.tensor([0.0, 1.0])))
    for shape in ((), (3,), (2, 1, 1)):
        for dtype in (torch.float32, torch.float64):
            value = signal(torch.full(shape, 0.4, dtype=dtype))
            assert value.shape == shape and value.dtype == dtype
    assert torch.equal(pickle.loads(pickle.dumps(signal))(times(9)), signal(times(9)))


def test_it_is_saved_with_a_configuration_and_a_scheduler(tmp_path):
    spec = {"name": "table", "signal_variance": UNEVEN}
    config = LaddConfig(
        vocab_size=11, latent_type="continuous", latent_length=4, latent_dim=3, latent_noise_schedule=spec
    )
    config.save_pretrained(tmp_path)
    again = LaddConfig.from_pretrained(tmp_path)
    assert again.latent_noise_schedule == spec
    scheduler = LaddSequentialScheduler(noise_process=NoiseProcess.of(again))
    scheduler.save_pretrained(tmp_path)
    loaded = LaddSequentialScheduler.from_pretrained(tmp_path)
    assert json.loads(json.dumps(loaded.noise_process.data())) == scheduler.noise_process.data()
    clean, t = torch.ones(1, 4, 3), torch.tensor(0.5)
    one, other = (x.add_latent_noise(clean, t, torch.Generator().manual_seed(0)) for x in (scheduler, loaded))
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    "values",
    [3, "1, 0", [], [1.0], [1.0, 0.5], [0.9, 0.0], [1, 0.5, 0.5, 0], [1, 0.2, 0.4, 0], [1, math.nan, 0], [1, "a", 0]],
    ids=str,
)
def test_what_is_not_a_way_from_clean_to_noise_is_refused(values):
    with pytest.raises(ValueError, match=r"`signal_variance` of the table .*; give .* from 1 to 0"):
        gaussian_schedule({"name": "table", "signal_variance": values})


@pytest.mark.parametrize("values", [[1, 0.3, math.nextafter(0.3, 0), 0], [1, 0.5, 1e-37, 0]], ids=str)
def test_neighbours_with_the_same_angle_are_refused(values):
    with pytest.raises(ValueError, match=r"has (0.3 and 0.29.*|1e-37 and 0.0) beside each other, .*: give"):
        TabulatedSignal.of(values)
