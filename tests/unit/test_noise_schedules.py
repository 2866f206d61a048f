"""Noise schedules run from clean to noise, and their derivatives and weights are those of the method."""

from __future__ import annotations

import math
import pickle

import pytest
import torch

from ladd_hf.diffusion.noise_schedules import GAUSSIAN_SCHEDULES, MASK_SCHEDULES, gaussian_schedule, mask_schedule

MASK_SPECS = [
    *sorted(MASK_SCHEDULES),
    {"name": "polynomial", "degree": 3},
    {"name": "polynomial", "degree": 0.5},
    {"name": "geometric", "sigma_min": 1e-3, "sigma_max": 10.0},
]
GAUSSIAN_SPECS = [
    *sorted(GAUSSIAN_SCHEDULES),
    {"name": "polynomial", "degree": 3},
    {"name": "sqrt", "eps": 0.01},
    {"name": "tan", "d": 0.3},
]


def label(value):
    """A parameter's name in a test's name: no address of a function, which is another one in every run."""
    return value.__name__ if callable(value) else str(value)


def inside(count=200):
    """Times strictly between 0 and 1."""
    return torch.linspace(0, 1, count + 2, dtype=torch.float64)[1:-1]


def ends():
    return torch.tensor([0.0, 1.0], dtype=torch.float64)


# --- masked channels ---


@pytest.mark.parametrize("spec", MASK_SPECS, ids=str)
def test_alpha_falls_from_all_visible_to_all_masked(spec):
    clean, noise = mask_schedule(spec).alpha(ends()).tolist()
    assert clean == pytest.approx(1, abs=1e-15)
    assert noise == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("spec", MASK_SPECS, ids=str)
def test_alpha_is_a_probability_that_always_falls(spec):
    alpha = mask_schedule(spec).alpha(torch.linspace(0, 1, 500, dtype=torch.float64))
    assert (alpha.diff() < 0).all()
    assert alpha.min() >= -1e-12 and alpha.max() <= 1


@pytest.mark.parametrize("spec", MASK_SPECS, ids=str)
def test_alpha_derivative_is_the_derivative_of_alpha(spec):
    schedule, t = mask_schedule(spec), inside().requires_grad_()
    (slope,) = torch.autograd.grad(schedule.alpha(t).sum(), t)
    torch.testing.assert_close(schedule.alpha_derivative(t), slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("spec", MASK_SPECS, ids=str)
def test_weight_is_the_speed_of_masking_over_the_share_that_is_masked(spec):
    schedule, t = mask_schedule(spec), inside()
    expected = -schedule.alpha_derivative(t) / (1 - schedule.alpha(t))
    torch.testing.assert_close(schedule.weight(t), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("spec", MASK_SPECS, ids=str)
def test_weight_does_not_lose_its_precision_near_the_clean_end(spec):
    schedule, t = mask_schedule(spec), torch.tensor([1e-4, 1e-3, 1e-2])
    torch.testing.assert_close(schedule.weight(t), schedule.weight(t.double()).float(), rtol=2e-5, atol=0)


@pytest.mark.parametrize("degree", [1, 2, 3.5])
def test_polynomial_weight_is_degree_over_t(degree):
    t = inside()
    schedule = mask_schedule({"name": "polynomial", "degree": degree})
    torch.testing.assert_close(schedule.weight(t), degree / t)
    torch.testing.assert_close(schedule.alpha(t), 1 - t**degree)


def test_linear_alpha_is_the_time_that_is_left_and_its_weight_one_over_t():
    t = inside()
    torch.testing.assert_close(mask_schedule("linear").alpha(t), 1 - t)
    torch.testing.assert_close(mask_schedule("linear").weight(t), 1 / t)


def test_polynomial_is_of_degree_two_by_default_and_keeps_more_visible_than_linear():
    t = inside()
    torch.testing.assert_close(mask_schedule("polynomial").alpha(t), 1 - t**2)
    assert (mask_schedule("polynomial").alpha(t) > mask_schedule("linear").alpha(t)).all()


def test_log_linear_is_a_name_of_the_linear_schedule():
    t = inside()
    assert torch.equal(mask_schedule("log_linear").alpha(t), mask_schedule("linear").alpha(t))


def test_geometric_noise_interpolates_its_ends_geometrically_and_is_stretched_to_reach_them():
    schedule = mask_schedule({"name": "geometric", "sigma_min": 1e-3, "sigma_max": 10.0})
    first, middle, last = (math.exp(-noise) for noise in (1e-3, math.sqrt(1e-3 * 10.0), 10.0))
    found = schedule.alpha(torch.tensor(0.5, dtype=torch.float64))
    assert float(found) == pytest.approx((middle - last) / (first - last), rel=1e-12)


@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 1)])
def test_schedules_keep_the_shape_and_the_precision_of_the_times(shape):
    for dtype in (torch.float32, torch.float64):
        t = torch.full(shape, 0.3, dtype=dtype)
        for name in MASK_SCHEDULES:
            schedule = mask_schedule(name)
            for value in (schedule.alpha(t), schedule.alpha_derivative(t), schedule.weight(t)):
                assert value.shape == shape and value.dtype == dtype
        for name in GAUSSIAN_SCHEDULES:
            for value in (gaussian_schedule(name).signal(t), gaussian_schedule(name).noise(t)):
                assert value.shape == shape and value.dtype == dtype


# --- continuous latents ---


@pytest.mark.parametrize("spec", GAUSSIAN_SPECS, ids=str)
def test_signal_and_noise_keep_the_variance(spec):
    schedule, t = gaussian_schedule(spec), torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(schedule.signal(t) ** 2 + schedule.noise(t) ** 2, torch.ones_like(t))
    torch.testing.assert_close(schedule.signal(t) ** 2, schedule.signal_variance(t))
    assert (schedule.signal(t) > 0).all() and (schedule.noise(t) > 0).all()


@pytest.mark.parametrize("spec", GAUSSIAN_SPECS, ids=str)
def test_signal_falls_from_one_to_zero_squeezed_by_eps(spec):
    schedule = gaussian_schedule(spec)
    variance = schedule.signal_variance(torch.linspace(0, 1, 500, dtype=torch.float64))
    eps = spec.get("eps", 1e-4) if isinstance(spec, dict) else 1e-4
    assert (variance.diff() < 0).all()
    assert float(variance[-1]) == pytest.approx(eps, rel=1e-9)
    assert float(variance[0]) <= 1 - eps
    assert float(variance[0]) == pytest.approx(1 - eps, abs=2e-4 if spec == "cosine" else 1e-12)


@pytest.mark.parametrize(
    ("spec", "raw"),
    [
        ("sqrt", lambda t: (1 - t).sqrt()),
        ("linear", lambda t: 1 - t),
        ("polynomial", lambda t: 1 - t**2),
        ({"name": "polynomial", "degree": 3}, lambda t: 1 - t**3),
        ("tan", lambda t: 1 / (1 + 25 * torch.tan(math.pi / 2 * t) ** 2)),
        ({"name": "tan", "d": 2}, lambda t: 1 / (1 + 4 * torch.tan(math.pi / 2 * t) ** 2)),
        ("cosine", lambda t: torch.cos(math.pi / 2 * (t + 0.008) / 1.008) ** 2),
    ],
    ids=label,
)
def test_signal_variance_is_the_schedule_of_the_method_squeezed(spec, raw):
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    torch.testing.assert_close(gaussian_schedule(spec).signal_variance(t), 1e-4 + (1 - 2e-4) * raw(t))


@pytest.mark.parametrize("d", [0.5, 2, 10])
def test_tan_divides_the_ratio_of_signal_to_noise_by_the_square_of_d(d):
    t = inside()
    one, other = (gaussian_schedule({"name": "tan", "d": factor, "eps": 1e-12}).signal_variance(t) for factor in (1, d))
    torch.testing.assert_close(other / (1 - other), one / (1 - one) / d**2, rtol=1e-6, atol=1e-10)
    torch.testing.assert_close(one, torch.cos(math.pi / 2 * t) ** 2)


@pytest.mark.parametrize("d", [0.5, 2, 10])
def test_tan_has_as_much_signal_as_noise_where_the_tangent_is_one_over_d(d):
    t = torch.tensor(2 / math.pi * math.atan(1 / d), dtype=torch.float64)
    assert float(gaussian_schedule({"name": "tan", "d": d}).signal_variance(t)) == pytest.approx(0.5, abs=1e-12)


# --- what is refused ---


@pytest.mark.parametrize("build", [mask_schedule, gaussian_schedule])
@pytest.mark.parametrize("spec", ["linaer", {"name": "quartic"}, {"degree": 2}, {}, "", 1], ids=str)
def test_unknown_names_are_refused_with_the_names_there_are(build, spec):
    with pytest.raises(ValueError, match=r"(unknown; give one of \[|is .*; give its name \().*'linear'"):
        build(spec)


@pytest.mark.parametrize(
    ("build", "spec"),
    [
        (mask_schedule, {"name": "linear", "degree": 2}),
        (mask_schedule, {"name": "polynomial", "power": 2}),
        (gaussian_schedule, {"name": "sqrt", "degree": 2}),
    ],
    ids=label,
)
def test_options_a_schedule_does_not_take_are_refused(build, spec):
    with pytest.raises(ValueError, match=r"has no option '(degree|power)'; it takes "):
        build(spec)


@pytest.mark.parametrize(
    ("build", "spec"),
    [
        (mask_schedule, {"name": "polynomial", "degree": 0}),
        (mask_schedule, {"name": "polynomial", "degree": -1}),
        (mask_schedule, {"name": "geometric", "sigma_min": 5.0, "sigma_max": 1.0}),
        (mask_schedule, {"name": "geometric", "sigma_min": 0.0}),
        (gaussian_schedule, {"name": "polynomial", "degree": 0}),
        (gaussian_schedule, {"name": "polynomial", "degree": -1}),
        (gaussian_schedule, {"name": "tan", "d": 0}),
        (gaussian_schedule, {"name": "tan", "d": float("nan")}),
        (gaussian_schedule, {"name": "sqrt", "eps": 0.7}),
        (gaussian_schedule, {"name": "linear", "eps": -0.1}),
    ],
    ids=label,
)
def test_options_that_give_no_way_from_clean_to_noise_are_refused(build, spec):
    with pytest.raises(ValueError, match=f"{spec['name']}|eps"):
        build(spec)


@pytest.mark.parametrize("spec", GAUSSIAN_SPECS, ids=str)
def test_a_schedule_of_a_model_can_be_pickled(spec):
    schedule = gaussian_schedule(spec)
    assert torch.equal(pickle.loads(pickle.dumps(schedule)).signal(inside()), schedule.signal(inside()))
