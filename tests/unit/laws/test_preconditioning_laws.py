"""Exact denoisers that predict v, or the F of EDM's preconditioning, are the exact denoiser of y_0 in other numbers."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pytest
import torch

from ladd_hf import LaddConfig, LaddSequentialScheduler, RowGenerator
from ladd_hf.diffusion.channels import EncodedLatents
from ladd_hf.diffusion.gaussian import add_gaussian_noise
from ladd_hf.diffusion.masked_channels import MaskedChannel
from ladd_hf.diffusion.nelbo import nelbo
from ladd_hf.diffusion.noise_schedules import mask_schedule
from ladd_hf.diffusion.process import NoiseProcess

MEAN, STD = 0.8, 0.5
PREDICTIONS = ["epsilon", "v", "preconditioned", {"name": "preconditioned", "data_std": 0.5}]
TIMES = torch.tensor([0.05, 0.3, 0.6, 0.9, 1.0], dtype=torch.float64)
SCHEDULE = {"name": "tan", "d": 2}


def config_of(prediction):
    return LaddConfig(
        vocab_size=3,
        max_position_embeddings=1,
        latent_type="continuous",
        latent_length=1,
        latent_dim=2,
        latent_noise_schedule=SCHEDULE,
        latent_prediction_type=prediction,
    )


def channel_of(prediction, solver=None):
    return NoiseProcess.of(config_of(prediction)).latent_channel(solver)


def signal_and_noise(t):
    """a and s of the schedule, squeezed as the method says."""
    signal = 1e-4 + (1 - 2e-4) / (1 + 4 * torch.tan(math.pi / 2 * t) ** 2)
    return signal.sqrt(), (1 - signal).sqrt()


def posterior_mean(noisy, t):
    """E[y_0 | y_t] of coordinates from N(MEAN, STD^2), `(B, M, D)` at `(B,)`."""
    a, s = (one[:, None, None] for one in signal_and_noise(t))
    return MEAN + a * STD**2 / (a**2 * STD**2 + s**2) * (noisy - a * MEAN)


def shares(prediction, t):
    """c_skip and c_out as their papers write them."""
    a, s = (one[:, None, None] for one in signal_and_noise(t))
    if prediction == "sample":
        return torch.zeros_like(a), torch.ones_like(a)
    if prediction == "epsilon":
        return 1 / a, -s / a
    if prediction == "v":
        return a, -s
    std, sigma = (prediction["data_std"] if isinstance(prediction, dict) else 1.0), s / a  # of x = y_t / a
    root = (sigma**2 + std**2).sqrt()
    return std**2 / root**2 / a, sigma * std / root


def output_of(prediction, noisy, t):
    """What an exact network says."""
    skip, out = shares(prediction, t)
    return (posterior_mean(noisy, t) - skip * noisy) / out


def drawn(seed=0, count=5):
    generator = torch.Generator().manual_seed(seed)
    clean = MEAN + STD * torch.randn(count, 1, 2, generator=generator, dtype=torch.float64)
    return clean, torch.randn(clean.shape, generator=generator, dtype=torch.float64)


def both(prediction, method, *others, noisy, clean=None):
    """A channel's answer to an exact network, and that of the channel of y_0."""
    given = () if clean is None else (clean,)
    return [
        getattr(channel_of(one), method)(output_of(one, noisy, TIMES), *given, noisy, *others)
        for one in (prediction, "sample")
    ]


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=str)
def test_the_predicted_clean_latents_are_the_same(prediction):
    clean, noise = drawn()
    for place, t in enumerate(TIMES.tolist()):
        time = TIMES[place : place + 1]
        noisy = add_gaussian_noise(channel_of("sample").schedule, clean, noise, time)
        found = channel_of(prediction).predicted_sample(output_of(prediction, noisy, time), noisy, t)
        torch.testing.assert_close(found, posterior_mean(noisy, time))


@pytest.mark.parametrize("prediction", PREDICTIONS, ids=str)
def test_bounds_rates_and_steps_are_the_same(prediction):
    clean, noise = drawn()
    noisy = add_gaussian_noise(channel_of("sample").schedule, clean, noise, TIMES[:, None, None])
    for method, others in (("bound", (TIMES,)), ("rate", (TIMES,)), ("step_bound", (TIMES, TIMES / 2, None))):
        found, expected = both(prediction, method, *others, noisy=noisy, clean=clean)
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)
        assert (found > 0).all()
    following = noisy + 0.1
    for place, t in enumerate(TIMES.tolist()):
        rows = [one[place : place + 1] for one in (clean, noisy, following)]
        time = TIMES[place : place + 1]
        found, expected = (
            channel_of(one).step_log_ratio(output_of(one, rows[1], time), *rows, t, t / 2)
            for one in (prediction, "sample")
        )
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
@pytest.mark.parametrize("prediction", PREDICTIONS, ids=str)
def test_samples_are_the_same(prediction, solver):
    samples = []
    for one in (prediction, "sample"):
        scheduler = LaddSequentialScheduler(latent_share=0.99, latent_solver=solver).for_model(config_of(one))
        scheduler.set_timesteps(5)
        random = RowGenerator.from_seed(0, torch.arange(50))
        latents, tokens = scheduler.prior_latents(1, random, 50).double(), torch.full((50, 1), 2)
        for step in range(4):
            t = scheduler.times(step)[1].double().expand(50)
            output = SimpleNamespace(logits=torch.zeros(0, 3), latent_prediction=output_of(one, latents, t))
            tokens, latents = scheduler.step(output, step, tokens, latents, generator=random, return_dict=False)
        samples.append(latents)
    torch.testing.assert_close(*samples, rtol=1e-5, atol=1e-5)  # a step's times are float32
    assert samples[0].std() > 0.1


class World:
    """A latent of two independent Gaussian coordinates and one token that does not depend on it."""

    def __init__(self, prediction):
        self.prediction = prediction
        self.token_channel, self.latent_channel = MaskedChannel(mask_schedule("linear"), 2), channel_of(prediction)

    def encode(self, tokens, attention_mask, random=None, update_codebook=True):
        clean, _ = drawn(count=len(tokens))
        return EncodedLatents(clean, torch.zeros(len(tokens)))

    def denoise(self, input_ids, latents, latent_timesteps, logits_mask, **others):
        logits = torch.tensor([0.0, 0.0, -torch.inf]).expand(*input_ids.shape, 3)[logits_mask]
        prediction = output_of(self.prediction, latents, latent_timesteps)
        return SimpleNamespace(logits=logits, latent_prediction=prediction)


@pytest.mark.parametrize(
    ("prediction", "run"), [*((one, 4) for one in PREDICTIONS), *((o, None) for o in PREDICTIONS[1:])]
)
def test_whole_bounds_are_the_same_and_those_of_the_closed_form(prediction, run):
    tokens = torch.zeros(4000, 1, dtype=torch.long)
    found, expected = (
        nelbo(
            World(one),
            tokens,
            torch.ones_like(tokens, dtype=torch.bool),
            path="joint",
            num_samples=4,
            random=RowGenerator.from_seed(0, torch.arange(len(tokens))),
            run=run,
        )
        for one in (prediction, "sample")
    )
    torch.testing.assert_close(found.latent_nats, expected.latent_nats, rtol=1e-7, atol=1e-9)
    if run is None:
        return
    channel, total = channel_of("sample"), 0.0
    for t, s in itertools.pairwise(torch.tensor([1, 0.75, 0.5, 0.25, 0], dtype=torch.float64)):
        a, s_t = signal_and_noise(t)
        variance = STD**2 * s_t**2 / (a**2 * STD**2 + s_t**2)  # of y_0 given y_t
        total += float((channel.progress(s) - channel.progress(t)) * 2 * variance)
    error = float(found.latent_nats.std()) / math.sqrt(len(tokens))
    assert float(found.latent_nats.mean()) == pytest.approx(total, abs=5 * error)
    assert 5 * error < 0.1 * total, "else nothing was shown"


@pytest.mark.parametrize(("prediction", "std"), [("v", 1.0), ("preconditioned", 1.0), (PREDICTIONS[-1], 0.5)])
def test_the_networks_target_has_unit_variance_at_every_time(prediction, std):
    generator = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(40_000, 1, 1, generator=generator, dtype=torch.float64) for _ in range(2))
    channel = channel_of(prediction)
    for t in (0.0, 0.2, 0.7, 1.0):
        time = torch.full((len(clean),), t, dtype=torch.float64)
        noisy = add_gaussian_noise(channel.schedule, std * clean, noise, time[:, None, None])
        squares = channel.loss(torch.zeros_like(noisy), std * clean, noisy, time)  # against an output of zeros
        assert float(squares.mean()) == pytest.approx(1, abs=0.03)
        skip, out = shares(prediction, time)
        assert not channel.loss((std * clean - skip * noisy) / out, std * clean, noisy, time).gt(1e-9).any()


def test_an_output_of_zeros_is_exact_for_a_centred_gaussian_of_the_stated_deviation():
    channel, noisy = channel_of(PREDICTIONS[-1]), drawn()[1]
    for t in TIMES.tolist():
        a, s = signal_and_noise(torch.tensor(t, dtype=torch.float64))
        expected = a * 0.25 / (a**2 * 0.25 + s**2) * noisy
        torch.testing.assert_close(channel.predicted_sample(torch.zeros_like(noisy), noisy, t), expected)


def test_for_unit_variance_it_is_v_with_the_other_sign():
    clean, noise = drawn()
    noisy = add_gaussian_noise(channel_of("v").schedule, clean, noise, TIMES[:, None, None])
    output = drawn(1)[0]
    of_v, of_f = (channel_of(one) for one in ("v", "preconditioned"))
    torch.testing.assert_close(of_v.loss(-output, clean, noisy, TIMES), of_f.loss(output, clean, noisy, TIMES))
    torch.testing.assert_close(of_v.predicted_sample(-output, noisy, 0.4), of_f.predicted_sample(output, noisy, 0.4))
