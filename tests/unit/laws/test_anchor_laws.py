"""Latents that are drawn from anchors: with the exact posterior any run has exactly the anchors' law."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import pytest
import torch
from scipy import stats
from torch.distributions import MultivariateNormal, Normal

from ladd_hf import LaddConfig, LaddSequentialScheduler, RowGenerator
from ladd_hf.diffusion.anchored_latents import AnchoredLatents, Anchors
from ladd_hf.diffusion.marginal_bound import bound_with
from ladd_hf.diffusion.masked_channels import MaskedChannel
from ladd_hf.diffusion.noise_schedules import gaussian_schedule, mask_schedule
from ladd_hf.diffusion.proposals import AnchorProposals, CodeProposals, EveryCode

ALMOST_NEVER = 1e-4
COUNT = 20_000
POINTS = torch.tensor([[1.2, 0.3], [-0.9, 1.0], [0.1, -1.3], [-1.0, -0.2]], dtype=torch.float64)
SHARES = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
ANCHORS = {"name": "anchors", "count": len(POINTS)}
CONFIG = LaddConfig(
    vocab_size=3, max_position_embeddings=1, latent_type="continuous", latent_length=1, latent_dim=2,
    latent_prediction_type=ANCHORS,
)  # fmt: skip
SCHEDULE = gaussian_schedule("sqrt")
CHANNEL = AnchoredLatents(SCHEDULE, 2, anchors=Anchors(POINTS))


def signal_variance(t):
    """a(t)^2 of the default schedule, squeezed as the method says."""
    return 1e-4 + (1 - 2e-4) * math.sqrt(1 - t)


def posterior(noisy, t):
    """log p(k | y_t) `(..., K)` by Bayes' rule, from the densities themselves."""
    a2 = signal_variance(t)
    density = Normal(math.sqrt(a2) * POINTS, math.sqrt(1 - a2)).log_prob(noisy[..., None, :].double()).sum(-1)
    return (SHARES.log() + density).log_softmax(-1)


def denoiser(noisy, t):
    return SimpleNamespace(logits=torch.zeros(0, 3), latent_prediction=posterior(noisy, t), latent_anchors=POINTS)


def run(num_steps, solver=None, count=COUNT, seed=0):
    """Latents `(count, 2)` after so many latent steps."""
    scheduler = LaddSequentialScheduler(latent_share=0.99, latent_solver=solver).for_model(CONFIG)
    scheduler.set_timesteps(num_steps + 1)
    random = RowGenerator.from_seed(seed, torch.arange(count))
    latents, tokens = scheduler.prior_latents(1, random, count).double(), torch.full((count, 1), 2)
    for step in range(num_steps):
        output = denoiser(latents, 1 - step / num_steps)
        tokens, latents = scheduler.step(output, step, tokens, latents, generator=random, return_dict=False)
    return latents[:, 0]


def anchor_counts(latents):
    """How often each anchor was written: a run ends at the anchors themselves."""
    written = (latents[:, None] == POINTS).all(-1)
    assert written.any(1).all()
    return written.sum(0)


@pytest.mark.parametrize("solver", ["ddpm", "ddim"])
@pytest.mark.parametrize("num_steps", [1, 2, 3, 8])
def test_runs_of_any_number_of_steps_have_the_anchors_law(num_steps, solver):
    counts = anchor_counts(run(num_steps, solver))
    assert stats.chisquare(counts.numpy(), (SHARES * COUNT).numpy()).pvalue > ALMOST_NEVER


def test_a_law_that_is_slightly_off_is_told_apart():
    counts, off = anchor_counts(run(2)), torch.tensor([0.37, 0.33, 0.2, 0.1], dtype=torch.float64)
    assert stats.chisquare(counts.numpy(), (off * COUNT).numpy()).pvalue < ALMOST_NEVER


def test_the_default_step_is_the_one_whose_bound_is_known():
    assert torch.equal(run(3, count=100), run(3, "ddpm", count=100))
    assert not torch.equal(run(3, count=100), run(3, "ddim", count=100))


def test_the_first_step_of_a_regression_is_one_vector_and_that_of_anchors_a_draw():
    """The regression's best answer at t_y = 1 is the mean, which is hardly any anchor."""
    noisy = torch.randn(500, 1, 2, generator=torch.Generator().manual_seed(0)).double()
    means = Anchors(POINTS).mean(posterior(noisy, 1.0), noisy, torch.full((500,), signal_variance(1.0)))
    torch.testing.assert_close(means[:, 0], (SHARES @ POINTS).expand(500, 2), rtol=0, atol=0.05)
    assert len(run(1, count=500).unique(dim=0)) == len(POINTS)


@pytest.mark.parametrize("spread", [0.3, 0.05])
@pytest.mark.parametrize("t", [1.0, 0.7, 0.3, 0.05])
def test_the_mean_of_latents_near_their_anchors_is_the_integral_over_them(t, spread):
    """By quadrature: a Gaussian around each anchor, times the density of y_t at each point of the plane."""
    line = torch.linspace(-5, 5, 401, dtype=torch.float64)
    plane, a2 = torch.cartesian_prod(line, line), signal_variance(t)
    prior = (SHARES.log() + Normal(POINTS, math.sqrt(spread)).log_prob(plane[:, None]).sum(-1)).logsumexp(-1)
    _, noisy = noised(8, t)
    density = Normal(math.sqrt(a2) * plane, math.sqrt(1 - a2)).log_prob(noisy).sum(-1)  # (8, all points)
    expected = (prior + density).softmax(-1) @ plane
    channel = AnchoredLatents(SCHEDULE, 2, anchors=Anchors(POINTS, spread))
    times = torch.full((8,), t, dtype=torch.float64)
    law = SHARES.log() + channel.anchors.log_likelihoods(noisy, torch.full((8,), a2))
    torch.testing.assert_close(channel.estimate(law, noisy, times)[:, 0], expected, rtol=1e-6, atol=1e-6)


def test_an_output_without_anchors_is_refused_in_a_sentence():
    scheduler = LaddSequentialScheduler().for_model(CONFIG)
    scheduler.set_timesteps(2)
    latents, output = torch.zeros(1, 1, 2), SimpleNamespace(latent_prediction=torch.zeros(1, 1, 4))
    with pytest.raises(ValueError, match=r"`latent_anchors` of shape \(K, D\)"):
        scheduler.step(output, 0, torch.full((1, 1), 2), latents)


# --- densities and bounds ---


def noised(rows, t, seed=0):
    """Anchors of their own law, `(rows, 1, 2)`, and the same noised to time t."""
    random = torch.Generator().manual_seed(seed)
    clean = POINTS[torch.multinomial(SHARES, rows, replacement=True, generator=random)][:, None]
    noise = torch.randn(clean.shape, generator=random, dtype=torch.float64)
    a2 = signal_variance(t)
    return clean, math.sqrt(a2) * clean + math.sqrt(1 - a2) * noise


def ddpm_law(clean, noisy, t, s):
    """q(y_s | y_t, y_0): mean and variance, from the joint Gaussian of (y_s, y_t) given y_0."""
    a, b = signal_variance(t), signal_variance(s)
    ratio = math.sqrt(a / b)
    gain = ratio * (1 - b) / (1 - a)
    mean = math.sqrt(b) * clean + gain * (noisy - math.sqrt(a) * clean)
    return mean, (1 - b) - gain * ratio * (1 - b)


@pytest.mark.parametrize(("t", "s"), [(1.0, 0.5), (0.7, 0.2), (0.4, 0.39)])
def test_the_ratio_of_a_step_is_that_of_the_mixtures_density(t, s):
    clean, noisy = noised(50, t)
    random = RowGenerator.from_seed(1, torch.arange(50))
    following = CHANNEL.forced_step(clean, noisy, t, s, random)
    logits = posterior(noisy, t) + 3.0  # a constant does not count
    means, variance = ddpm_law(POINTS, noisy[:, :, None], t, s)
    component = MultivariateNormal(means, variance * torch.eye(2, dtype=torch.float64)).log_prob(following[:, :, None])
    mixture = (posterior(noisy, t) + component).logsumexp(-1)
    own = Normal(ddpm_law(clean, noisy, t, s)[0], math.sqrt(variance)).log_prob(following).sum(-1)
    found = CHANNEL.step_log_ratio(logits, clean, noisy, following, t, s)
    torch.testing.assert_close(found, (mixture - own).sum(1), rtol=1e-6, atol=1e-6)


def test_the_last_step_costs_the_log_probability_of_the_anchor():
    clean, noisy = noised(50, 0.6)
    number = torch.cdist(clean[:, 0], POINTS).argmin(1)
    expected = posterior(noisy, 0.6)[:, 0].gather(1, number[:, None])[:, 0]
    assert torch.equal(CHANNEL.forced_step(clean, noisy, 0.6, 0.0, None), clean)
    torch.testing.assert_close(CHANNEL.step_log_ratio(posterior(noisy, 0.6), clean, noisy, clean, 0.6, 0.0), expected)
    t, s = torch.full((50,), 0.6), torch.zeros(50)
    random = RowGenerator.from_seed(0, torch.arange(50))
    torch.testing.assert_close(CHANNEL.step_bound(posterior(noisy, 0.6), clean, noisy, t, s, random), -expected)


@pytest.mark.parametrize("middle", [0.9, 0.5, 0.05])
def test_the_bounds_of_the_steps_of_any_run_are_together_the_entropy(middle):
    """A single latent's steps lose nothing, however many: no bound of a run grows with their number."""
    rows, total = 20_000, 0.0
    random = RowGenerator.from_seed(2, torch.arange(rows))
    for t, s in itertools.pairwise([1.0, middle, middle / 2, 0.0]):
        clean, noisy = noised(rows, t, seed=int(100 * t))
        times = torch.full((rows,), t, dtype=torch.float64), torch.full((rows,), s, dtype=torch.float64)
        total = total + CHANNEL.step_bound(posterior(noisy, t), clean, noisy, *times, random)
    entropy, error = float(-(SHARES * SHARES.log()).sum()), float(total.std()) / math.sqrt(rows)
    assert abs(float(total.mean()) - entropy) < 4 * error and error < 0.02


def test_a_step_that_goes_nowhere_costs_nothing_and_others_do_not_change_it():
    clean, noisy = noised(40, 0.6)
    t, s = torch.full((40,), 0.6), torch.tensor([0.6, 0.3, 0.0, 0.6]).repeat(10)
    random = RowGenerator.from_seed(0, torch.arange(40))
    found = CHANNEL.step_bound(posterior(noisy, 0.6), clean, noisy, t, s, random)
    assert torch.equal(found[s == 0.6], torch.zeros(20, dtype=torch.float64)) and (found[s < 0.6] != 0).all()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_walk_of_the_process_has_its_law(place):
    """Marginals, and the law of one point of the walk given the next: q(y_s | y_t, y_0)."""
    times, rows = [1.0, 0.6, 0.2, 0.0], 40_000
    clean = POINTS[:1].expand(rows, 1, 2)
    walk = CHANNEL.trajectory(clean, times, RowGenerator.from_seed(0, torch.arange(rows)))
    a2 = signal_variance(times[place])
    scaled = (walk[place] - math.sqrt(a2) * clean) / math.sqrt(1 - a2)
    mean, variance = ddpm_law(clean, walk[place], times[place], times[place + 1])
    given = (walk[place + 1] - mean) / math.sqrt(variance)
    for noise in (scaled, given):
        assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > ALMOST_NEVER
    assert abs(float((scaled * given).mean())) < 4 / math.sqrt(2 * rows)


@pytest.mark.parametrize("scale", [1.0, 0.03, 0.005])
def test_the_bound_in_continuous_time_is_the_entropy_of_the_anchors(scale):
    """However close they are: at 0.005 of these distances the smallest noise, 0.01, hides which is which."""
    points, count = scale * POINTS, 60_000
    channel = AnchoredLatents(SCHEDULE, 2, anchors=Anchors(points))
    random = torch.Generator().manual_seed(0)
    t = ((torch.arange(count) + 0.5) / count).double() ** 4  # denser where there is least noise
    rate = 4 * ((torch.arange(count) + 0.5) / count).double() ** 3
    clean = points[torch.multinomial(SHARES, count, replacement=True, generator=random)][:, None]
    share = SCHEDULE.signal_variance(t)[:, None, None]
    noisy = share.sqrt() * clean + (1 - share).sqrt() * torch.randn(clean.shape, generator=random, dtype=torch.float64)
    apart = (noisy[..., None, :] - share.sqrt()[..., None] * points).square().sum(-1)
    law = (SHARES.log() - apart / (2 * (1 - share))).log_softmax(-1)
    nats = rate * channel.bound(law, clean, noisy, t)
    entropy = float(-(SHARES * SHARES.log()).sum())
    error = float(nats.std()) / math.sqrt(count)
    assert abs(float(nats.mean()) - entropy) < 4 * error and error < 0.03


def test_steps_of_another_law_have_no_bound():
    assert LaddSequentialScheduler().for_model(CONFIG).is_ancestral
    assert not LaddSequentialScheduler(latent_solver="ddim").for_model(CONFIG).is_ancestral


class AnchoredWorld:
    """One token of two, drawn by the anchor; the denoiser is exact."""

    token_channel = MaskedChannel(mask_schedule("linear"), 2)
    latent_channel = CHANNEL
    given = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.05, 0.95]], dtype=torch.float64)  # of token, by anchor

    def denoise(self, tokens, latents, *, token_timesteps, latent_timesteps, logits_mask, **others):
        weights = posterior(latents, float(latent_timesteps[0])).exp() if float(latent_timesteps[0]) else None
        if weights is None:
            weights = torch.nn.functional.one_hot(CHANNEL.anchors.nearest(latents), len(POINTS)).double()
        logits = torch.nn.functional.pad((weights @ self.given).log(), (0, 1), value=-torch.inf)
        prediction = None if latents is None else (weights + 1e-300).log()
        return SimpleNamespace(logits=logits[logits_mask], latent_prediction=prediction)


@pytest.mark.parametrize("latent_steps", [1, 2, 4])
@pytest.mark.parametrize("every", [True, False])
def test_the_mean_weight_of_anchors_is_the_likelihood_of_the_texts(latent_steps, every):
    repeats, tokens = 3000, torch.arange(2).repeat(3000)[:, None]
    points = [(1.0, 1 - step / latent_steps) for step in range(latent_steps)] + [(1.0, 0.0), (0.0, 0.0)]
    uniform = CodeProposals(torch.zeros(1, len(tokens), 1, len(POINTS)))
    proposals = AnchorProposals(EveryCode(len(POINTS), 1, len(tokens)) if every else uniform, POINTS)
    random = RowGenerator.from_seed(0, torch.arange(len(tokens)))
    found = bound_with(
        AnchoredWorld(), tokens, torch.ones_like(tokens, dtype=torch.bool), None, points, proposals, 4, random
    )
    likelihood = (-found.total_nats).exp().view(repeats, 2)
    error = likelihood.std(0) / math.sqrt(repeats)
    truth = SHARES @ AnchoredWorld.given
    assert ((likelihood.mean(0) - truth).abs() < 4 * error + 1e-4).all() and (error < 0.02).all()
    assert found.stderr.isnan().all() == every


def test_equal_states_of_clean_anchors_are_evaluated_once():
    """Of all texts there are as many states as anchors, when the tokens are written in one step."""
    tokens = torch.arange(2).repeat(50)[:, None]
    every = AnchorProposals(EveryCode(len(POINTS), 1, len(tokens)), POINTS)
    random = RowGenerator.from_seed(0, torch.arange(len(tokens)))
    points, everything = [(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)], torch.ones_like(tokens, dtype=torch.bool)
    found = bound_with(AnchoredWorld(), tokens, everything, None, points, every, len(POINTS), random)
    assert found.num_evaluations == len(POINTS) * len(tokens) + len(POINTS)  # of the latents' step, and the tokens'


def test_it_is_never_below_and_falls_with_the_number_of_proposals():
    tokens = torch.arange(2).repeat(2000)[:, None]
    truth, means = -(SHARES @ AnchoredWorld.given).log().mean(), []
    for count in (1, 4, 16):
        proposals = AnchorProposals(CodeProposals(torch.zeros(1, len(tokens), 1, len(POINTS))), POINTS)
        random = RowGenerator.from_seed(0, torch.arange(len(tokens)))
        everything = torch.ones_like(tokens, dtype=torch.bool)
        points = [(1.0, 1.0), (1.0, 0.5), (1.0, 0.0), (0.0, 0.0)]
        found = bound_with(AnchoredWorld(), tokens, everything, None, points, proposals, count, random)
        means.append(float(found.total_nats.mean()))
    assert all(before > after for before, after in itertools.pairwise(means)) and means[-1] > truth - 0.01
