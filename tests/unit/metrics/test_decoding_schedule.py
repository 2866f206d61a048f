"""The schedule whose times are spread evenly over the measured decoding error, for a denoiser that is exact."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from helpers.two_texts import TwoTexts

from ladd_hf.diffusion.noise_schedules import gaussian_schedule
from ladd_hf.metrics import DecodingCurve, decoding_curve, decoding_schedule
from ladd_hf.metrics.decoding_schedule import time_of


def texts(count=400, length=5):
    return torch.randint(0, 2, (count, length), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("measure", ["loss", "accuracy"])
def test_the_next_model_loses_the_same_in_each_stretch_of_its_times(measure):
    options = {"num_texts": 400, "levels": 64}
    spec = decoding_schedule(TwoTexts(), texts(), measure=measure, even_share=1e-6, **options)
    model = TwoTexts(spec)
    points = torch.linspace(0, 1, 9, dtype=torch.float64)
    shares = model.latent_channel.schedule.signal_variance(points)
    curve = decoding_curve(TwoTexts(), texts(), **options)
    errors = np.interp(shares.sqrt().arccos().numpy(), curve.angles, curve.errors(measure))
    # the schedule is squeezed by its `eps`, so that its ends are not quite those of the curve
    np.testing.assert_allclose(np.diff(errors), (errors[-1] - errors[0]) / 8, rtol=0.05)


def test_a_share_of_the_times_is_spread_evenly_over_the_noise():
    curve = decoding_curve(TwoTexts(), texts(), num_texts=100)
    values = torch.tensor(curve.schedule(even_share=1.0, num_points=17)["signal_variance"], dtype=torch.float64)
    expected = torch.cos(torch.linspace(0, math.pi / 2, 17, dtype=torch.float64)) ** 2
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-12)


def test_what_is_measured_does_not_depend_on_batches_or_on_the_schedule_of_the_model():
    one = decoding_curve(TwoTexts(), texts(), num_texts=50, batch_size=50)
    other = decoding_curve(TwoTexts({"name": "tan", "d": 4}), texts(), num_texts=50, batch_size=7)
    np.testing.assert_allclose(one.losses[1:-1], other.losses[1:-1], rtol=1e-5)
    np.testing.assert_allclose(one.recovered[1:-1], other.recovered[1:-1], atol=0.005)
    assert one.losses[0] < 1e-6 and one.losses[-1] == pytest.approx(math.log(2), abs=0.05)


def test_only_tokens_that_are_scored_count():
    batch = [{"input_ids": row, "labels": torch.where(torch.arange(5) < 2, -100, row)} for row in texts(30)]
    with_context = decoding_curve(TwoTexts(), batch, num_texts=30)
    ignoring = decoding_curve(TwoTexts(), [{"input_ids": row} for row in texts(30)], num_texts=30)
    assert abs(with_context.losses - ignoring.losses).max() > 1e-3
    assert with_context.losses[-1] == pytest.approx(math.log(2), abs=0.1)


def test_dips_of_a_noisy_measurement_are_levelled():
    falling = np.array([0.0, 0.4, 0.2, 0.3, 1.0, 0.9])
    curve = DecodingCurve(np.linspace(0, math.pi / 2, 6), falling, 1 - falling)
    np.testing.assert_allclose(curve.errors("loss"), [0, 0.3, 0.3, 0.3, 0.95, 0.95])
    np.testing.assert_allclose(curve.errors("accuracy"), curve.errors("loss"))
    values = curve.schedule(num_points=100)["signal_variance"]
    assert all(late < early for early, late in itertools.pairwise(values))


@pytest.mark.parametrize("name", ["sqrt", "cosine", {"name": "tan", "d": 10}], ids=str)
def test_the_time_of_a_level_is_where_the_schedule_has_it(name):
    schedule = gaussian_schedule(name)
    for share in (0.9, 0.5, 0.01):
        t = torch.tensor(time_of(schedule, share), dtype=torch.float64)
        assert float(schedule.signal_variance(t)) == pytest.approx(share, rel=1e-9)
    assert time_of(schedule, 1.0) == 0 and time_of(schedule, 0.0) == 1


def test_a_models_schedule_is_measured_and_its_next_training_takes_it(stirred_model, tiny_config):
    model = stirred_model("continuous")
    data = torch.randint(1, 10, (6, 12), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        curve = decoding_curve(model, data, levels=4, batch_size=4)
    assert curve.losses.shape == curve.recovered.shape == (5,) and np.isfinite(curve.losses).all()
    rising = DecodingCurve(curve.angles, np.arange(5.0), curve.recovered)
    assert tiny_config("continuous", latent_noise_schedule=rising.schedule(num_points=5)).latent_noise_schedule


def test_what_cannot_be_measured_is_refused(stirred_model):
    with pytest.raises(ValueError, match=r"no continuous latents \(`latent_type` 'discrete'\)"):
        decoding_curve(stirred_model("discrete"), texts())
    with pytest.raises(ValueError, match=r"as well from pure noise as from their latents .* measure a model"):
        decoding_schedule(TwoTexts(says=0.0), texts(20), num_texts=20)
    with pytest.raises(ValueError, match=r"no texts to decode"):
        decoding_curve(TwoTexts(), [])
    curve = decoding_curve(TwoTexts(), texts(20), num_texts=20, levels=4)
    with pytest.raises(ValueError, match=r"`measure` is 'nats'; give 'loss' or 'accuracy'"):
        curve.schedule("nats")
    for name, value in (("num_points", 1), ("even_share", 0), ("even_share", 1.5)):
        with pytest.raises(ValueError, match=name):
            curve.schedule(**{name: value})
    for name, value in (("levels", 1), ("num_texts", 0), ("batch_size", 0), ("seed", -1)):
        with pytest.raises(ValueError, match=name):
            decoding_curve(TwoTexts(), texts(20), **{name: value})
