"""The latent channel of each kind starts as noise, is scored by the method's bound and ends at the prediction."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from ladd_hf import RowGenerator
from ladd_hf.diffusion.continuous_latents import BOUND_STEP, ContinuousLatents
from ladd_hf.diffusion.gaussian import add_gaussian_noise
from ladd_hf.diffusion.masked_channels import DiscreteLatents, MaskedChannel
from ladd_hf.diffusion.noise_schedules import GAUSSIAN_SCHEDULES, MASK_SCHEDULES, gaussian_schedule, mask_schedule
from ladd_hf.diffusion.process import NoiseProcess

ALMOST_NEVER = 1e-4
CODES, MASK_CODE = 5, 5


def rows(count, seed=0):
    return RowGenerator.from_seed(seed, torch.arange(count))


def normals(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def continuous(schedule="sqrt", predicts_noise=False, solver="ddim"):
    return ContinuousLatents(gaussian_schedule(schedule), predicts_noise, 3, solver)


def discrete(schedule="polynomial"):
    return DiscreteLatents(mask_schedule(schedule), MASK_CODE)


def step(channel, prediction, noisy, t, s, random):
    """A whole reverse step: which latents change is drawn first, whatever the prediction says."""
    return channel.step(prediction, noisy, t, s, random, channel.draw_moves(noisy, t, s, random))


def exact_logits(codes, certainty=200.0):
    """Logits over codes that are sure of the clean ones."""
    return certainty * torch.nn.functional.one_hot(codes, CODES).float()


# --- which channel a configuration asks for ---


def test_the_channel_is_the_one_of_the_configuration(tiny_config):
    def latent_channel(*given, **changes):
        return NoiseProcess.of(tiny_config(*given, **changes)).latent_channel()

    assert latent_channel("none") is None
    codes = latent_channel("discrete")
    assert isinstance(codes, DiscreteLatents) and codes.mask_id == 9
    vectors = latent_channel("continuous", latent_prediction_type="epsilon")
    assert isinstance(vectors, ContinuousLatents) and vectors.predicts_noise
    assert not latent_channel("continuous").predicts_noise
    assert NoiseProcess.of(tiny_config("continuous")).token_channel().mask_id == 10


@pytest.mark.parametrize(("kind", "t", "share"), [("discrete", 0.3, 1 - 0.3**2), ("continuous", 0.3, math.sqrt(0.7))])
def test_default_schedules_are_degree_two_for_codes_and_sqrt_for_vectors(tiny_config, kind, t, share):
    schedule, time = NoiseProcess.of(tiny_config(kind)).latent_channel().schedule, torch.tensor(t, dtype=torch.float64)
    left = schedule.alpha(time) if kind == "discrete" else schedule.signal_variance(time)
    assert float(left) == pytest.approx(share, abs=1e-4)


# --- masked channels ---


@pytest.mark.parametrize("name", sorted(MASK_SCHEDULES))
def test_everything_is_visible_at_time_zero_whatever_the_schedule_leaves_there(name):
    channel = MaskedChannel(mask_schedule(name), 7)
    assert channel.alpha_at(0) == 1
    assert channel.alpha_at(0.25) == pytest.approx(float(mask_schedule(name).alpha(torch.tensor(0.25))))
    masked = torch.full((2, 50), 7)
    assert channel.draw_unmask(masked, 0.6, 0.0, rows(2)).all()


def test_a_channel_reveals_only_its_mask_and_keeps_the_schedules_share():
    channel, clean = MaskedChannel(mask_schedule("cosine"), 7), torch.arange(4).repeat(100, 50)
    noisy = channel.add_noise(clean, torch.full((100,), 0.8), rows(100))
    unmask = channel.draw_unmask(noisy, 0.8, 0.3, rows(100, seed=1))
    assert (noisy[unmask] == 7).all()
    visible = int(((noisy != 7) | unmask).sum())
    assert stats.binomtest(visible, clean.numel(), math.cos(0.15 * math.pi)).pvalue > ALMOST_NEVER


# --- codes ---


def test_codes_start_all_masked_and_dropped_codes_are_all_masked():
    prior = discrete().prior(4, rows(3))
    assert prior.dtype == torch.int64 and prior.tolist() == [[MASK_CODE] * 4] * 3
    assert discrete().dropped(torch.zeros(2, 4, dtype=torch.int64)).tolist() == [[MASK_CODE] * 4] * 2


def test_codes_are_scored_where_they_are_masked_and_only_there():
    clean = torch.tensor([[0, 1, 2, 3], [4, 3, 2, 1]])
    noisy = torch.tensor([[0, MASK_CODE, 2, MASK_CODE], [4, 3, 2, 1]])
    logits, t = normals(0, 2, 4, CODES), torch.tensor([0.5, 0.2])
    surprise = -logits.log_softmax(-1).gather(-1, clean[..., None])[..., 0]
    expected = torch.stack([surprise[0, 1] + surprise[0, 3], torch.tensor(0.0)])
    torch.testing.assert_close(discrete().loss(logits, clean, noisy, t), expected / 4)
    torch.testing.assert_close(discrete().bound(logits, clean, noisy, t), expected * 2 / t)
    torch.testing.assert_close(discrete("linear").bound(logits, clean, noisy, t), expected / t)


def test_a_denoiser_that_is_sure_and_right_has_no_loss():
    clean = torch.arange(CODES).repeat(2, 1)
    noisy, t = torch.full_like(clean, MASK_CODE), torch.tensor([0.3, 1.0])
    assert discrete().loss(exact_logits(clean), clean, noisy, t).tolist() == [0, 0]
    assert discrete().bound(exact_logits(clean), clean, noisy, t).tolist() == [0, 0]
    wrong = exact_logits((clean + 1) % CODES)
    assert (discrete().loss(wrong, clean, noisy, t) > 100).all()


@pytest.mark.parametrize("name", sorted(MASK_SCHEDULES))
def test_the_bound_of_a_denoiser_that_knows_nothing_is_the_log_of_the_number_of_codes(name):
    # The integral over time of weight times the masked share is 1: each code is paid for once, and log K is its price.
    channel, count, length = discrete(name), 40_000, 4
    clean = torch.zeros(count, length, dtype=torch.int64)
    t = (torch.arange(count, dtype=torch.float64) + 0.5) / count  # stratified
    noisy = channel.add_noise(clean, t, rows(count))
    integrand = channel.bound(torch.zeros(count, length, CODES), clean, noisy, t)
    assert float(integrand.mean()) == pytest.approx(length * math.log(CODES), abs=5 * float(integrand.std()) / 200)


def test_a_step_reveals_some_masked_codes_from_the_logits_and_leaves_the_others():
    clean = torch.arange(CODES).repeat(60, 1)
    noisy = torch.where(torch.rand(clean.shape, generator=torch.Generator().manual_seed(0)) < 0.5, MASK_CODE, 3)
    after = step(discrete(), exact_logits(clean), noisy, 0.8, 0.4, rows(60))
    masked = noisy == MASK_CODE
    assert (after[~masked] == 3).all()
    stayed = after[masked] == MASK_CODE
    assert stats.binomtest(int(stayed.sum()), len(stayed), 0.4**2 / 0.8**2).pvalue > ALMOST_NEVER
    assert torch.equal(after[masked][~stayed], clean[masked][~stayed])


def test_exactly_the_codes_that_were_drawn_to_move_are_revealed():
    channel, noisy = discrete(), torch.where(torch.arange(60 * 4).view(60, 4) % 3 == 0, 2, MASK_CODE)
    moves = channel.draw_moves(noisy, 0.8, 0.4, rows(60))
    assert (noisy[moves] == MASK_CODE).all() and 0 < moves.sum() < (noisy == MASK_CODE).sum()
    results = [channel.step(normals(seed, 60, 4, CODES), noisy, 0.8, 0.4, rows(60), moves) for seed in (0, 1)]
    for after in results:
        assert torch.equal(after != noisy, moves)
    assert not torch.equal(*results)


def test_a_batch_in_which_no_code_moves_stays_as_it_is():
    noisy = torch.full((2, 4), MASK_CODE)
    none = torch.zeros(2, 4, dtype=torch.bool)
    assert torch.equal(discrete().step(normals(0, 2, 4, CODES), noisy, 0.8, 0.4, rows(2), none), noisy)


def test_all_vectors_move_in_every_step():
    assert continuous().draw_moves(torch.zeros(2, 4, 3), 0.8, 0.4, rows(2)).tolist() == [[True] * 4] * 2


def test_the_last_step_reveals_every_code_and_never_the_mask_code():
    noisy = torch.full((50, 4), MASK_CODE)
    after = step(discrete(), normals(0, 50, 4, CODES), noisy, 0.1, 0.0, rows(50))
    assert after.min() >= 0 and after.max() < CODES


def test_codes_are_drawn_by_the_softmax_of_their_logits():
    logits = normals(1, CODES)
    after = step(discrete(), logits.expand(5000, 4, -1), torch.full((5000, 4), MASK_CODE), 1.0, 0.0, rows(5000))
    law = logits.double().softmax(-1) * after.numel()
    assert stats.chisquare(after.flatten().bincount(minlength=CODES), law).pvalue > ALMOST_NEVER


# --- vectors ---


def test_vectors_start_as_standard_normal_noise_and_dropped_vectors_are_zero():
    prior = continuous().prior(4, rows(2000))
    assert prior.shape == (2000, 4, 3) and prior.dtype == torch.float32
    assert stats.kstest(prior.flatten().numpy(), "norm").pvalue > ALMOST_NEVER
    assert continuous().dropped(prior).abs().max() == 0


@pytest.mark.parametrize("predicts_noise", [False, True])
def test_vectors_are_scored_by_the_mean_squared_error_of_what_is_predicted(predicts_noise):
    channel, t = continuous(predicts_noise=predicts_noise), torch.tensor([0.4, 0.9])
    clean, noise = normals(0, 2, 4, 3), normals(1, 2, 4, 3)
    noisy = add_gaussian_noise(channel.schedule, clean, noise, t[:, None, None])
    target, prediction = noise if predicts_noise else clean, normals(2, 2, 4, 3)
    expected = (prediction - target).square().mean((1, 2))
    torch.testing.assert_close(channel.loss(prediction, clean, noisy, t), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(GAUSSIAN_SCHEDULES))
def test_the_exact_noise_has_no_loss_at_any_time_in_any_precision_of_the_latents(name, dtype):
    channel, t = continuous(name, predicts_noise=True), torch.tensor([1e-4, 1e-3, 0.1, 0.5, 0.999, 1.0])
    clean = normals(0, 6, 4, 3).to(dtype)
    noisy = channel.add_noise(clean, t.double(), rows(6))
    noise = rows(6).normal(4, 3)  # the same stream again
    tolerance = 1e-6 if dtype == torch.float32 else 1e-3
    assert float(channel.loss(noise, clean, noisy, t.double()).max()) < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_noise_has_the_variance_of_its_time_in_any_precision_of_the_latents(dtype):
    channel, t = continuous(), torch.tensor([1e-3, 0.02, 0.9, 0.995], dtype=torch.float64)
    clean = torch.zeros(4, 4000, 3, dtype=dtype)
    noisy = channel.add_noise(clean, t, rows(4)).double()
    expected = channel.schedule.noise(t) ** 2
    torch.testing.assert_close(noisy.square().mean((1, 2)), expected, rtol=0.06, atol=0)


def test_the_exact_vectors_have_no_loss_and_no_bound():
    channel, clean, t = continuous(), normals(0, 3, 4, 3), torch.tensor([0.0, 0.5, 1.0])
    noisy = channel.add_noise(clean, t, rows(3))
    assert channel.loss(clean, clean, noisy, t).tolist() == [0, 0, 0]
    assert channel.bound(clean, clean, noisy, t).tolist() == [0, 0, 0]


@pytest.mark.parametrize("t", [0.02, 0.3, 0.95])
def test_the_bound_is_the_same_for_a_predicted_vector_and_for_the_noise_it_implies(t):
    by_vector, by_noise, times = continuous(), continuous(predicts_noise=True), torch.tensor([t]).double()
    clean, guess = normals(0, 1, 4, 3).double(), normals(1, 1, 4, 3).double()
    noisy = by_vector.add_noise(clean, times, rows(1))
    schedule = by_vector.schedule
    implied = (noisy - schedule.signal(times) * guess) / schedule.noise(times)
    torch.testing.assert_close(
        by_noise.bound(implied, clean, noisy, times), by_vector.bound(guess, clean, noisy, times), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("name", sorted(GAUSSIAN_SCHEDULES))
def test_the_bound_of_a_constant_error_integrates_to_half_the_whole_drop_of_the_signal_to_noise_ratio(name):
    channel, steps = continuous(name), round(1 / BOUND_STEP)
    t = torch.arange(1, steps + 1, dtype=torch.float64) / steps
    clean, prediction = torch.zeros(steps, 1, 3), torch.ones(steps, 1, 3)
    integral = channel.bound(prediction, clean, clean, t).mean()
    ends = channel.schedule.signal_variance(torch.tensor([0.0, 1.0], dtype=torch.float64))
    ratio = ends / (1 - ends)
    assert float(integral) == pytest.approx(3 * float(ratio[0] - ratio[1]) / 2, rel=1e-6)


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
def test_the_last_step_returns_the_predicted_vectors(solver):
    noisy, prediction = normals(0, 2, 4, 3), normals(1, 2, 4, 3)
    channel = continuous(solver=solver)
    assert torch.equal(step(channel, prediction, noisy, 0.4, 0.0, rows(2)), prediction)


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
def test_the_last_step_from_the_exact_noise_returns_the_exact_vectors(solver):
    channel, t = continuous(predicts_noise=True, solver=solver), torch.full((2,), 0.4)
    clean = normals(0, 2, 4, 3)
    noisy = channel.add_noise(clean, t, rows(2))
    after = step(channel, rows(2).normal(4, 3), noisy, 0.4, 0.0, rows(2))
    torch.testing.assert_close(after, clean, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("predicts_noise", [False, True])
@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
def test_steps_of_an_exact_denoiser_keep_the_law_of_the_forward_process(solver, predicts_noise):
    channel, count = continuous("cosine", predicts_noise, solver), 4000
    clean = torch.full((count, 1, 3), 0.7, dtype=torch.float64)
    state = channel.add_noise(clean, torch.ones(count).double(), rows(count))
    random = rows(count, seed=1)
    for t, s in ((1.0, 0.7), (0.7, 0.5), (0.5, 0.2)):
        time = torch.tensor(t, dtype=torch.float64)
        noise = (state - channel.schedule.signal(time) * clean) / channel.schedule.noise(time)
        state = step(channel, noise if predicts_noise else clean, state, t, s, random)
    end = torch.tensor(0.2, dtype=torch.float64)
    standardised = (state - channel.schedule.signal(end) * 0.7) / channel.schedule.noise(end)
    assert stats.kstest(standardised.flatten().numpy(), "norm").pvalue > ALMOST_NEVER


def test_ddim_steps_are_deterministic_and_ddpm_steps_are_drawn():
    noisy, prediction = normals(0, 2, 4, 3), normals(1, 2, 4, 3)
    ddim, ddpm = (
        [step(continuous(solver=solver), prediction, noisy, 0.8, 0.3, rows(2, seed)) for seed in (0, 1)]
        for solver in ("ddim", "ddpm")
    )
    assert torch.equal(*ddim) and not torch.isclose(*ddpm).any()


def test_an_unknown_solver_is_refused():
    with pytest.raises(ValueError, match=r"ddim.*ddpm"):
        continuous(solver="euler")


# --- what is refused as clean latents ---


@pytest.mark.parametrize(
    "latents",
    [
        torch.zeros(2, 4, dtype=torch.int32),
        torch.zeros(2, 4),
        torch.zeros(2, 4, dtype=torch.bool),
        torch.zeros(2, 3, dtype=torch.int64),
        torch.zeros(1, 4, dtype=torch.int64),
        torch.zeros(2, 4, 1, dtype=torch.int64),
        torch.full((2, 4), MASK_CODE),  # noise, not a clean code
        torch.full((2, 4), -1),
        torch.tensor([[0, 1, 2, 3], [0, 1, 2, 99]]),
    ],
    ids=lambda x: f"{x.dtype}{tuple(x.shape)}",
)
def test_clean_codes_of_another_type_shape_or_range_are_refused(latents):
    with pytest.raises(ValueError, match="`latents`"):
        discrete().check(latents, 2, 4)


@pytest.mark.parametrize(
    "latents",
    [
        torch.zeros(2, 4, 3, dtype=torch.int64),
        torch.zeros(2, 4, 2),
        torch.zeros(2, 3, 3),
        torch.zeros(3, 4, 3),
        torch.zeros(2, 4),
    ],
    ids=lambda x: f"{x.dtype}{tuple(x.shape)}",
)
def test_clean_vectors_of_another_type_or_shape_are_refused(latents):
    with pytest.raises(ValueError, match="`latents`"):
        continuous().check(latents, 2, 4)


def test_clean_latents_that_fit_are_accepted():
    discrete().check(torch.tensor([[0, 1, 2, 3], [4, 4, 0, 0]]), 2, 4)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        continuous().check(torch.zeros(2, 4, 3, dtype=dtype), 2, 4)


@pytest.mark.parametrize(
    ("kind", "changes", "of_path"),
    [
        ("none", {}, {"joint": True, "tokens": True}),
        ("discrete", {}, {"joint": True, "tokens": False}),
        ("continuous", {}, {"joint": False, "tokens": False}),
        ("anchors", {}, {"joint": True, "tokens": False}),
        ("anchors", {"latent_prediction_type": {"name": "anchors", "count": 6, "snap": False}}, {"joint": False}),
    ],
)
def test_a_sum_bounds_texts_where_latents_are_written_and_have_probabilities(tiny_config, kind, changes, of_path):
    process = NoiseProcess.of(tiny_config(kind, **changes))
    assert {path: process.bounds_texts(path) for path in of_path} == of_path


@pytest.mark.parametrize("kind", ["codes", "vectors", "noise"])
def test_the_rate_times_the_progress_of_a_step_is_its_bound(kind):
    t, s = torch.tensor([0.9, 0.6, 0.3]), torch.tensor([0.5, 0.59, 0.1])
    if kind == "codes":
        channel, clean = discrete(), torch.randint(CODES, (3, 4))
        noisy, prediction = torch.where(torch.rand(3, 4) < 0.5, MASK_CODE, clean), normals(0, 3, 4, CODES)
    else:
        channel, clean = continuous(predicts_noise=kind == "noise"), normals(0, 3, 4, 3)
        noisy, prediction = channel.add_noise(clean, t, rows(3)), normals(1, 3, 4, 3)
    rise = channel.progress(s.double()) - channel.progress(t.double())
    found = rise * channel.rate(prediction, clean, noisy, t.double())
    expected = channel.step_bound(prediction, clean, noisy, t.double(), s.double(), None)
    torch.testing.assert_close(found, expected.double(), rtol=1e-4, atol=1e-5)
