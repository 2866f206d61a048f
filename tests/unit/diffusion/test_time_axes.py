"""A side of the time square: its progress is what a step's bound is proportional to, its times are even where losses
bend."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ladd_hf.diffusion.continuous_latents import ContinuousLatents
from ladd_hf.diffusion.masked_channels import DiscreteLatents, MaskedChannel
from ladd_hf.diffusion.noise_schedules import GAUSSIAN_SCHEDULES, MASK_SCHEDULES, gaussian_schedule, mask_schedule
from ladd_hf.diffusion.runs import time_of_width
from ladd_hf.diffusion.time_axes import TimeAxis

MASKED = [DiscreteLatents(mask_schedule(name), 5) for name in sorted(MASK_SCHEDULES)]
GAUSSIAN = [
    ContinuousLatents(gaussian_schedule(name), predicts_noise, 3)
    for name in sorted(GAUSSIAN_SCHEDULES)
    for predicts_noise in (False, True)
]


@pytest.mark.parametrize("channel", [*MASKED, *GAUSSIAN], ids=lambda one: type(one.schedule).__name__)
def test_the_bound_of_a_step_is_proportional_to_the_rise_of_progress(channel):
    torch.manual_seed(0)
    t, s, end = torch.tensor([0.9, 0.6, 0.3]).double(), torch.tensor([0.5, 0.59, 0.0]).double(), torch.zeros(3).double()
    if isinstance(channel, ContinuousLatents):
        clean, prediction = torch.randn(2, 3, 2, 3).double()
        noisy = torch.randn(3, 2, 3).double()
    else:
        clean, prediction = torch.randint(5, (3, 4)), torch.randn(3, 4, 5).double()
        noisy = torch.where(torch.rand(3, 4) < 0.5, 5, clean)
    part, whole = (channel.step_bound(prediction, clean, noisy, t, one, None) for one in (s, end))
    rises = [channel.progress(one) - channel.progress(t) for one in (s, end)]
    torch.testing.assert_close(part, whole * rises[0] / rises[1])
    assert (whole > 0).all() and (rises[0] > 0).all()


@pytest.mark.parametrize("channel", [*MASKED, *GAUSSIAN[::2]], ids=lambda one: type(one.schedule).__name__)
def test_times_fall_from_1_to_0_and_are_halved_by_twice_the_cells(channel):
    few, many = (TimeAxis.of(channel, cells) for cells in (3, 6))
    assert (few.measured_times[0], few.measured_times[-1]) == (1, 0) and (np.diff(few.times) < 0).all()
    np.testing.assert_allclose(many.measured_times[::2], few.measured_times, atol=1e-9)
    np.testing.assert_allclose(few.progress, channel.progress(torch.tensor(few.times)).numpy())
    assert few.limits[-1] == few.times[-2] > 0 and (few.limits[:-1] == few.measured_times[:-1]).all()


@pytest.mark.parametrize("channel", MASKED, ids=lambda one: type(one.schedule).__name__)
def test_a_masked_channels_times_are_even_in_the_angle_of_alpha(channel):
    axis = TimeAxis.of(channel, 5)
    shares = axis.progress[axis.measured]
    np.testing.assert_allclose(shares, [1 - math.cos(math.pi / 2 * k / 5) for k in range(6)], atol=1e-6)


def test_losses_are_interpolated_linearly_in_what_is_visible():
    axis = TimeAxis.of(MaskedChannel(mask_schedule("cosine"), 5), 4)
    places = np.linspace(0, len(axis.times) - 1, 50)
    weights = axis.weights(places)
    np.testing.assert_allclose(weights.sum(1), 1)
    np.testing.assert_allclose(weights @ axis.progress[axis.measured], axis.progress_at(places), atol=1e-12)
    np.testing.assert_allclose(axis.weights(axis.measured.astype(float)), np.eye(5), atol=1e-12)


@pytest.mark.parametrize("time", [0.0, 0.37, 0.999])
def test_an_axis_may_start_at_any_time(time):
    axis = TimeAxis.of(MASKED[0], 4)
    shorter, weights = axis.from_time(time)
    assert shorter.times[0] == pytest.approx(time) and shorter.times[-1] == 0
    kept = axis.progress[axis.measured]
    np.testing.assert_allclose(weights @ kept, shorter.progress[shorter.measured], atol=1e-12)
    assert len(shorter.measured) == 1 + (axis.measured_times < time).sum()


def test_an_axis_is_json_data_and_back():
    axis = TimeAxis.of(GAUSSIAN[0], 3)
    again = TimeAxis.parsed(axis.data())
    assert again.gaussian and (again.times == axis.times).all() and (again.progress == axis.progress).all()
    with pytest.raises(ValueError, match="do not fall to 0"):
        TimeAxis(axis.times[::-1], axis.progress, axis.measured)
    assert np.array_equal(axis.places_of(axis.times), np.arange(len(axis.times)))


def test_continuous_latents_need_not_be_known_more_finely_than_their_width():
    channel = ContinuousLatents(gaussian_schedule("cosine"), False, 3)
    whole, coarse = TimeAxis.of(channel, 8), TimeAxis.of(channel, 8, width=0.1)
    assert whole.progress[-1] > 1000 and coarse.progress[-1] == pytest.approx(0.5 / 0.1**2)
    end = time_of_width(channel.schedule, 0.1)
    assert end <= coarse.times[-2] < 1.2 * end and coarse.times[-1] == 0
    rises = np.diff(coarse.progress_at(coarse.places_of(np.array([end, end / 2, 0.0]))))
    assert rises.sum() < 0.15 * coarse.progress[-1] < 0.01 * whole.progress[-1], "what is finer costs next to nothing"
    assert coarse.fits(channel) and whole.fits(channel)
    assert not coarse.fits(ContinuousLatents(gaussian_schedule("linear"), False, 3))
