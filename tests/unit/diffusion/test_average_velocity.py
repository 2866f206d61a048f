"""MeanFlow of continuous latents against closed forms: the flow of a Gaussian, and a mixture's, learnt by a network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from ladd_hf import RowGenerator, TrainingNoise, TrainingObjective
from ladd_hf.diffusion.average_velocity import Jump, damped, jump_target, line_time, motion, velocity_error, with_change
from ladd_hf.diffusion.channels import EncodedLatents
from ladd_hf.diffusion.continuous_latents import ContinuousLatents
from ladd_hf.diffusion.gaussian import ddim_step
from ladd_hf.diffusion.latent_predictions import LATENT_PREDICTIONS
from ladd_hf.diffusion.masked_channels import MaskedChannel
from ladd_hf.diffusion.noise_schedules import gaussian_schedule, mask_schedule
from ladd_hf.diffusion.preconditioned_latents import PreconditionedLatents
from ladd_hf.diffusion.training_loss import training_loss
from ladd_hf.models.modeling_ladd import LaddOutput

MEAN, STD = 0.8, 0.5
SCHEDULES = ["sqrt", "cosine", "linear", "polynomial", {"name": "tan", "d": 5}]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def moments(schedule, t):
    """a, s and the standard deviation of y_t, `(B, 1, 1)`."""
    a, s = schedule.signal(t)[:, None, None], schedule.noise(t)[:, None, None]
    return a, s, (a**2 * STD**2 + s**2).sqrt()


def along_flow(schedule, noisy, t, r):
    """The y_r that the flow of N(MEAN, STD^2) leads to from y_t: its quantile does not change."""
    (a, _, std), (b, _, end) = moments(schedule, t), moments(schedule, r)
    return b * MEAN + end / std * (noisy - a * MEAN)


def exact(schedule, noisy, t, r):
    """The y_0(t, r) of that flow: where the chord of its way from t to r ends; for r = t the mean of y_0."""
    (a, s, std), (b, s_r, _) = moments(schedule, t), moments(schedule, r)
    mean = MEAN + a * STD**2 / std**2 * (noisy - a * MEAN)
    reached = along_flow(schedule, noisy, t, r)
    still = (r == t)[:, None, None]
    away = torch.where(still, 1.0, b - a * s_r / s)
    return torch.where(still, mean, (reached - s_r / s * noisy) / away)


def drawn(schedule, rows=64, seed=0):
    random = seeded(seed)
    times = (0.02 + 0.96 * torch.rand(rows, 2, generator=random, dtype=torch.float64)).sort(1, descending=True).values
    clean = MEAN + STD * torch.randn(rows, 2, 1, generator=random, dtype=torch.float64)
    noise = torch.randn(rows, 2, 1, generator=random, dtype=torch.float64)
    a, s, _ = moments(schedule, times[:, 0])
    return a * clean + s * noise, clean, *times.unbind(1)


# --- the identity ---


@pytest.mark.parametrize("name", SCHEDULES, ids=str)
def test_a_ddim_step_with_the_exact_prediction_is_the_flow(name):
    schedule = gaussian_schedule(name)
    noisy, _, t, r = drawn(schedule)
    jumped = ddim_step(schedule, exact(schedule, noisy, t, r), noisy, t[:, None, None], r[:, None, None])
    torch.testing.assert_close(jumped, along_flow(schedule, noisy, t, r))


@pytest.mark.parametrize("name", SCHEDULES, ids=str)
def test_the_motion_is_the_derivative_of_the_process(name):
    """Along the line through y_t and y_0, by differences of tau: y_t keeps its noise and t goes on."""
    schedule = gaussian_schedule(name)
    noisy, clean, t, r = drawn(schedule)
    jump = Jump.of(schedule, t, r)
    moved, passed = motion(schedule, noisy, clean, jump)
    a, s, _ = moments(schedule, t)
    noise, step = (noisy - a * clean) / s, 1e-6
    before, after = (
        schedule.signal(time)[:, None, None] * clean + schedule.noise(time)[:, None, None] * noise
        for time in (t - step, t + step)
    )
    tau_before, tau_after = (line_time(schedule, time) for time in (t - step, t + step))
    length = (jump.start_line - jump.end_line) / (tau_after - tau_before)
    torch.testing.assert_close(moved, (after - before) * length[:, None, None], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(passed, 2 * step * length, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES, ids=str)
def test_the_exact_prediction_fulfils_the_identity_and_others_do_not(name):
    schedule = gaussian_schedule(name)
    noisy, _, t, r = drawn(schedule)
    jump, mean = Jump.of(schedule, t, r), exact(schedule, noisy, t, t)
    moved = motion(schedule, noisy, mean, jump)
    found = with_change(lambda y, time: exact(schedule, y, time, r), noisy, t, moved)
    torch.testing.assert_close(jump_target(mean, *found, jump), found[0])
    other = with_change(lambda y, time: exact(schedule, y, time, time), noisy, t, moved)
    assert (jump_target(mean, *other, jump) - other[0]).abs().max() > 0.05
    torch.testing.assert_close(jump_target(mean, *other, jump, share=0.0), mean)
    still = Jump.of(schedule, t, t)
    torch.testing.assert_close(jump_target(mean, *other, still, share=0.0), mean)


def test_the_target_of_true_latents_has_the_mean_of_the_flows():
    """The identity is linear in the velocity: averaged over y_0 given y_t, the target is that of the mean."""
    schedule = gaussian_schedule("cosine")
    t, r = torch.full((1,), 0.7, dtype=torch.float64), torch.full((1,), 0.2, dtype=torch.float64)
    noisy = torch.full((1, 1, 1), 0.9, dtype=torch.float64)
    _, s, std = moments(schedule, t)
    spread, mean = STD * s / std, exact(schedule, noisy, t, t)
    points, weights = (torch.as_tensor(one) for one in np.polynomial.hermite_e.hermegauss(9))
    targets = []
    for one in (*(mean + spread * point for point in points), mean):
        jump = Jump.of(schedule, t, r)
        found = with_change(
            lambda y, time: exact(schedule, y, time, r) ** 2, noisy, t, motion(schedule, noisy, one, jump)
        )
        targets.append(jump_target(one, *found, jump))
    averaged = sum(weight * one for weight, one in zip(weights / weights.sum(), targets[:-1], strict=True))
    torch.testing.assert_close(averaged, targets[-1])


def test_errors_are_of_velocities_and_damped_where_they_are_large():
    schedule = gaussian_schedule("cosine")
    noisy, clean, t, r = drawn(schedule)
    jump = Jump.of(schedule, t, r)
    a, s, _ = moments(schedule, t)
    z, tau = noisy / (a + s), line_time(schedule, t)[:, None, None]
    velocities = [(z - one) / tau for one in (clean, clean + 0.3)]
    expected = (velocities[0] - velocities[1]).square().mean((1, 2))
    torch.testing.assert_close(velocity_error(clean, clean + 0.3, jump), expected)
    error = torch.tensor([1e-6, 1.0, 1e6], requires_grad=True)
    damped(error, 5.0).sum().backward()
    torch.testing.assert_close(damped(error, 5.0).detach(), torch.tensor([1e-6, 5 / 6, 5.0]), rtol=1e-4, atol=0)
    torch.testing.assert_close(error.grad, torch.tensor([1.0, 5 / 6, 5e-6]), rtol=1e-4, atol=0)


# --- the loss ---

CENTRES = torch.tensor([[1.2, 0.3], [-1.0, 1.0], [-0.8, -1.1], [0.9, -1.0]])
SPREAD = 0.15


class Mixture:
    """A denoiser of one latent in the plane, from four Gaussians, whose mean of y_0 is known."""

    flow_map, latents_alone = True, "always"

    def __init__(self, prediction="sample"):
        self.token_channel = MaskedChannel(mask_schedule("linear"), 2)
        shares = LATENT_PREDICTIONS.build(prediction).preconditioning
        gaussian = gaussian_schedule("cosine")
        self.latent_channel = (
            ContinuousLatents(gaussian, prediction == "epsilon", 2)
            if shares is None
            else PreconditionedLatents(gaussian, shares, 2)
        )
        self.calls = []

    def encode(self, tokens, attention_mask=None, random=None, update_codebook=True):
        component = (4 * random.uniform(1)[:, 0]).long()
        clean = CENTRES[component] + SPREAD * random.normal(2).float()
        return EncodedLatents(clean[:, None], torch.zeros(len(tokens)))

    def mean(self, noisy, t):
        schedule = self.latent_channel.schedule
        signal, noise = (one.to(noisy)[:, None, None] for one in (schedule.signal(t), schedule.noise(t)))
        variance = signal**2 * SPREAD**2 + noise**2
        away = noisy - signal * CENTRES  # (B, 4, 2)
        shares = (-away.square().sum(-1, keepdim=True) / (2 * variance)).softmax(1)
        return (shares * (CENTRES + signal * SPREAD**2 / variance * away)).sum(1, keepdim=True)

    def denoise(self, input_ids, latents=None, latent_timesteps=None, logits_mask=None, **kwargs):
        self.calls.append({"input_ids": input_ids, "latents": latents, "latent_timesteps": latent_timesteps, **kwargs})
        rows = 0 if logits_mask is None else int(logits_mask.sum())
        return LaddOutput(
            logits=latents.new_zeros(rows, 2), latent_prediction=self.predict(latents, latent_timesteps, kwargs)
        )

    def predict(self, latents, t, kwargs):
        return self.mean(latents, t)


class Student(Mixture):
    """A small network that adds to the mixture's mean what jumps ask for."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network = nn.Sequential(nn.Linear(6, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2))

    def predict(self, latents, t, kwargs):
        r = kwargs.get("latent_target_timesteps", t)
        jump = (t - r).to(latents)[:, None, None]
        times = torch.stack([t, r], -1).to(latents)[:, None]
        mean = self.mean(latents, t)
        return mean + jump * self.network(torch.cat([latents, mean, times], -1))


JUMPS = {"meanflow_share": 0.75, "time_distribution": "independent", "token_loss_weight": 0.0}


def loss_of(denoiser, rows=64, first=0, teacher=None, **settings):
    tokens, noise = torch.zeros(rows, 2, dtype=torch.long), TrainingNoise(0, torch.arange(first, first + rows))
    objective = TrainingObjective(**{**JUMPS, **settings})
    return training_loss(denoiser, tokens, tokens == 0, None, objective, noise, teacher=teacher)


def written(denoiser, num_steps, told, renoising=0.0, count=2000):
    """Latents `(count, 2)` after so many even steps, of a network that is told where they lead, or not."""
    channel, random = denoiser.latent_channel, RowGenerator.from_seed(1, torch.arange(count))
    channel.renoising = renoising
    latents, moves = channel.prior(1, random), torch.ones(count, 1, dtype=torch.bool)
    with torch.no_grad():
        for step in range(num_steps):
            t, s = 1 - step / num_steps, 1 - (step + 1) / num_steps
            options = {"latent_target_timesteps": torch.full((count,), channel.jump_time(s))} if told else {}
            output = denoiser.denoise(None, latents, latent_timesteps=torch.full((count,), t), **options)
            latents = channel.step(output.latent_prediction, latents, t, s, random, moves)
    return latents[:, 0]


def distance(one, other):
    """The sliced Wasserstein distance of equally many points of the plane."""
    angles = torch.arange(16) * math.pi / 16
    directions = torch.stack([angles.cos(), angles.sin()])
    return float(((one @ directions).sort(0).values - (other @ directions).sort(0).values).abs().mean())


def component(latents):
    return torch.cdist(latents, CENTRES).argmin(1)


@pytest.mark.parametrize("teacher", ["average", "data"])
def test_one_evaluation_of_a_distilled_network_leads_where_64_of_its_teacher_lead(teacher):
    """From the same noise to the same component, some 2 apart, and on average no farther from its latents than these
    are spread. One evaluation of the teacher leads to the middle, 0.8 away; two samples of the law are 0.05 apart."""
    student, exactly, rate = Student(), Mixture(), 2e-2
    optimizer = torch.optim.Adam(student.network.parameters(), lr=rate)
    for step in range(400):
        loss = loss_of(student, 128, 128 * step, exactly, meanflow_teacher=teacher, meanflow_start_share=0.5)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / 400)
    many = written(exactly, 64, told=False)
    for steps, most in ((1, 1.5 * SPREAD), (2, SPREAD)):
        found = written(student, steps, told=True)
        assert distance(found, many) < most < distance(written(exactly, steps, told=False), many)
        assert (component(found) == component(many)).double().mean() > 0.9


@pytest.mark.parametrize("prediction", ["sample", "epsilon", "v", {"name": "preconditioned", "data_std": 0.7}], ids=str)
def test_the_loss_of_an_exact_flow_is_zero_whatever_is_predicted(prediction):
    """With the flow's own velocity; the data's has a variance, of which nothing is left in the mean."""
    schedule = gaussian_schedule("cosine")

    class Flow(Mixture):
        def encode(self, tokens, attention_mask=None, random=None, update_codebook=True):
            return EncodedLatents((MEAN + STD * random.normal(1, 2)).float(), torch.zeros(len(tokens)))

        def predict(self, latents, t, kwargs):
            found = exact(schedule, latents.double(), t, kwargs.get("latent_target_timesteps", t))
            a, s, _ = moments(schedule, t)
            noise, name = (latents - a * found) / s, prediction if isinstance(prediction, str) else "preconditioned"
            shares = getattr(self.latent_channel, "preconditioning", None)
            if shares is not None:
                times = t[:, None, None]
                return (found - shares.skip(schedule, times) * latents) / shares.out(schedule, times)
            return noise if name == "epsilon" else found

    flow = Flow(prediction)
    assert loss_of(flow, 256).parts["meanflow_loss"] < 1e-6 < loss_of(Mixture(prediction), 256).parts["meanflow_loss"]


def test_the_gradient_of_the_datas_velocity_vanishes_on_average_at_the_exact_flow():
    schedule, slopes = gaussian_schedule("cosine"), []

    class Flow(Mixture):
        def __init__(self, moved):
            super().__init__()
            self.moved = torch.tensor(moved, requires_grad=True)

        def encode(self, tokens, attention_mask=None, random=None, update_codebook=True):
            return EncodedLatents((MEAN + STD * random.normal(1, 2)).float(), torch.zeros(len(tokens)))

        def predict(self, latents, t, kwargs):
            r = kwargs.get("latent_target_timesteps", t)
            return exact(schedule, latents.double(), t, r) + self.moved * (t - r)[:, None, None]

    for moved in (0.0, 0.5):
        flow = Flow(moved)
        loss_of(flow, 20_000, meanflow_teacher="data", meanflow_damping=1e6, latent_loss_weight=1.0).total.backward()
        slopes.append(abs(float(flow.moved.grad)))
    assert slopes[0] < 0.1 * slopes[1]


# --- noise that is drawn again ---


@pytest.mark.parametrize("name", SCHEDULES, ids=str)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 0.999, 1.0])
def test_a_jump_ends_where_noise_of_the_share_leads_back_from(name, share):
    schedule = gaussian_schedule(name)
    channel = ContinuousLatents(schedule, False, 1, renoising=share)
    for s in (0.1, 0.5, 0.9):
        end = channel.jump_time(s)
        ratios = [
            float((schedule.noise(one) / schedule.signal(one)).square()) for one in torch.tensor([end, s, 0.0]).double()
        ]
        assert 0 <= end <= s and ratios[0] == pytest.approx(max((1 - share**2) * ratios[1], ratios[2]), rel=1e-6)
    assert share > 0 or channel.jump_time(0.5) == 0.5


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.8, 1.0])
def test_marginals_of_exact_jumps_are_right_for_every_share(solver, share):
    """Of latents at their law at t, a step by the exact flow (or the posterior at the true y_0) has that at s."""
    schedule = gaussian_schedule("cosine")
    channel = ContinuousLatents(schedule, False, 1, solver, renoising=share)
    count, random = 40_000, RowGenerator.from_seed(0, torch.arange(40_000))
    clean = MEAN + STD * random.normal(1, 1)
    latents, moves = channel.add_noise(clean, torch.full((count,), 0.9), random), torch.ones(count, 1, dtype=torch.bool)
    for t, s in ((0.9, 0.6), (0.6, 0.3), (0.3, 0.05)):
        ends = torch.full((2, count), 0.0, dtype=torch.float64)
        ends[0], ends[1] = t, channel.jump_time(s)
        predicted = exact(schedule, latents, *ends) if solver == "ddim" else clean
        before = latents
        latents = channel.step(predicted, latents, t, s, random, moves)
        a, spread = schedule.signal(torch.tensor(s)), moments(schedule, torch.tensor([s]).double())[2]
        assert float(latents.mean()) == pytest.approx(float(a) * MEAN, abs=0.02)
        assert float(latents.std()) == pytest.approx(float(spread), rel=0.03)
        fresh = float(torch.corrcoef(torch.stack([before, latents]).flatten(1))[0, 1]) < 0.999
        assert fresh == (share > 0 or solver == "ddpm")
