"""Schedules tuned for latents from anchors: what steps cost is known for both of their times, and without chance."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ladd_hf import LaddTunedScheduler, tune_schedule
from ladd_hf.diffusion.anchored_latents import AnchoredLatents, Anchors
from ladd_hf.diffusion.channels import EncodedLatents
from ladd_hf.diffusion.grid_runs import RunsBySteps
from ladd_hf.diffusion.loss_draws import HeldOutTexts
from ladd_hf.diffusion.loss_measuring import measure_losses
from ladd_hf.diffusion.loss_table import LossTable
from ladd_hf.diffusion.masked_channels import MaskedChannel
from ladd_hf.diffusion.nelbo import nelbo
from ladd_hf.diffusion.noise_schedules import gaussian_schedule, mask_schedule
from ladd_hf.diffusion.optimal_runs import OptimalRuns
from ladd_hf.diffusion.rng import RowGenerator

SCHEDULE = gaussian_schedule("sqrt")
POINTS = torch.tensor([[1.2, 0.3], [-0.9, 1.0], [0.1, -1.3], [-1.0, -0.2]], dtype=torch.float64)
LETTERS, MASK, S = len(POINTS), len(POINTS), 3


class RepeatedLetter:
    """Texts of one letter, three times, which the anchor determines, and a number that is context.

    The denoiser is exact.
    """

    token_channel = MaskedChannel(mask_schedule("linear"), MASK)
    latent_channel = AnchoredLatents(SCHEDULE, 2, anchors=Anchors(POINTS))
    shares = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    letters = torch.arange(LETTERS)[:, None].expand(LETTERS, S)

    def encode(self, tokens, attention_mask=None, random=None):
        vectors = POINTS[tokens[:, :1]]
        return EncodedLatents(vectors, vectors.square().sum((1, 2)) / 2)

    def denoise(self, tokens, latents, *, token_timesteps, latent_timesteps, logits_mask, **others):
        likelihood = self.latent_channel.anchors.log_likelihoods(
            latents.double(), SCHEDULE.signal_variance(latent_timesteps.double().expand(len(latents)))
        )[:, 0]
        letters = tokens[:, None, :S]
        fits = (letters == self.letters) | (letters == MASK)
        law = (self.shares.log() + likelihood).masked_fill(~fits.all(-1), -1e4).log_softmax(-1)
        logits = torch.nn.functional.pad(law, (0, 1), value=-torch.inf)[:, None].expand(-1, S + 1, -1)
        return SimpleNamespace(logits=logits[logits_mask], latent_prediction=law[:, None], latent_anchors=POINTS)


@pytest.fixture(scope="module")
def world():
    return RepeatedLetter()


def texts(count=1000, seed=0):
    """Equal ones have noise of their own, since their numbers differ."""
    random = torch.Generator().manual_seed(seed)
    letters = torch.multinomial(RepeatedLetter.shares, count, replacement=True, generator=random)
    return torch.cat([letters[:, None].expand(count, S), torch.arange(count)[:, None]], dim=1)


def maskable(tokens):
    return (torch.arange(S + 1) < S).expand_as(tokens)


@pytest.fixture(scope="module")
def table(world):
    tokens = texts()
    return measure_losses(world, [HeldOutTexts(tokens, maskable(tokens))], 4)


def test_steps_of_one_latent_cost_what_one_step_over_them_does(table):
    steps = table.latent_losses
    assert steps.shape == (5, 5, 5) and np.allclose(steps, -steps.swapaxes(1, 2))
    for start, middle, end in itertools.combinations(range(5), 3):
        together = steps[:, start, middle] + steps[:, middle, end]
        np.testing.assert_allclose(together, steps[:, start, end], atol=1e-5)
    assert (steps[0, 0, 1:] > 0).all() and not steps[:, -1, -1].any()


def test_a_step_costs_what_the_bound_of_its_run_does(world, table):
    tokens = texts(6000, seed=3)
    times = table.latent_axis.measured_times
    run = [(1.0, 1.0), (1.0, float(times[2])), (1.0, 0.0), (0.0, 0.0)]
    random = RowGenerator.from_seed(0, torch.arange(len(tokens)))
    measured = nelbo(world, tokens, maskable(tokens), run=run, num_samples=3, random=random)
    error = float(measured.latent_nats.std()) / len(tokens) ** 0.5
    found = table.bound(run)
    assert abs(found.latent_nats - float(measured.latent_nats.mean())) < 3 * (error + found.stderr)
    assert found.token_nats == pytest.approx(0, abs=0.1), "the anchor is the letter"
    entropy = float(-(world.shares * world.shares.log()).sum())
    assert abs(found.total_nats - entropy) < 4 * found.stderr + 0.05


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_run_is_the_best_of_all_on_the_grid(table, steps):
    states = RunsBySteps(table, parts=1).states(steps)
    x, y = table.token_axis.measured_times, table.latent_axis.measured_times
    every = itertools.combinations(itertools.product(range(5), range(5)), steps + 1)
    runs = [
        [(x[i], y[j]) for i, j in run]
        for run in every
        if run[0] == (0, 0) and run[-1] == (4, 4) and all(a[1] <= b[1] for a, b in itertools.pairwise(run))
    ]
    best = min(table.bound(run).total_nats for run in runs)
    assert table.bound([(x[i], y[j]) for i, j in states]).total_nats == pytest.approx(best, abs=1e-9)


def test_two_steps_write_the_latent_first_and_more_add_nothing(table):
    runs = OptimalRuns(table)
    t_x, t_y = runs.run(2)[1]
    assert t_x == 1 and t_y < 0.1, "by then there is no doubt which anchor it is"
    bounds = [table.bound(runs.run(steps)).total_nats for steps in (1, 2, 3, 6)]
    assert bounds[0] > bounds[1] + 0.5 and bounds[1] == pytest.approx(bounds[3], abs=0.05)


def test_within_a_gap_costs_are_shared_in_proportion(table):
    """And what a step costs does not depend on how its latents' way is divided."""
    places = np.linspace(0, len(table.latent_axis.times) - 1, 23)
    start, x = np.zeros(1), np.zeros(1)
    whole = table.step_nats(x, start, x, places[-1:])
    parts = sum(table.step_nats(x, places[n : n + 1], x, places[n + 1 : n + 2]) for n in range(len(places) - 1))
    assert parts == pytest.approx(whole, abs=1e-5)
    assert table.step_nats(np.zeros(23), places, np.zeros(23), places) == pytest.approx(np.zeros(23), abs=1e-12)


def test_steps_that_move_no_latents_have_no_error_of_them(table):
    alone = replace(table, token_errors=0 * table.token_errors)
    between = float(table.latent_axis.times_at(table.latent_axis.measured[1:3].mean()[None])[0])
    once, twice = ([(1.0, between), *((t, between) for t in times), (0.0, 0.0)] for times in ([0.5], [0.7, 0.5, 0.3]))
    later = alone.from_latent_time(between)
    few, many = later.bound(once).stderr, later.bound(twice).stderr
    assert 0 < many <= few * 1.01


def test_a_table_of_other_latents_is_refused(table, tiny_config):
    config = tiny_config(
        "continuous", latent_prediction_type={"name": "anchors", "count": 4}, latent_noise_schedule="sqrt"
    )
    assert LaddTunedScheduler(table).for_model(config)
    with pytest.raises(ValueError, match="another `latent_prediction_type`, or by an earlier version"):
        LaddTunedScheduler(table).for_model(tiny_config("continuous", latent_noise_schedule="sqrt"))
    flat = replace(table, latent_losses=table.latent_losses[..., -1], latent_errors=table.latent_errors[..., -1])
    with pytest.raises(ValueError, match="another `latent_prediction_type`, or by an earlier version"):
        LaddTunedScheduler(flat).for_model(config)


def test_a_later_start_and_json_keep_the_costs(table):
    again = LossTable.parsed(table.data())
    np.testing.assert_array_equal(again.latent_losses, table.latent_losses)
    time = float(table.latent_axis.measured_times[2])
    later = table.from_latent_time(time)
    run = [(1.0, time), (0.5, 0.1), (0.0, 0.0)]
    assert later.bound(run).total_nats == pytest.approx(table.bound(run).total_nats, rel=1e-9)
    with pytest.raises(ValueError, match="an error for each loss"):
        LossTable.parsed({**table.data(), "latent_errors": table.latent_errors[..., 0].tolist()})
    with pytest.raises(ValueError, match=r"`token_losses` of a table has shape \(5, 5, 5\)"):
        LossTable.parsed({**table.data(), "token_losses": table.latent_losses.tolist()})


def test_tuning_takes_such_a_model(world):
    examples = [{"input_ids": row, "labels": row.where(torch.arange(S + 1) < S, -100)} for row in texts(40)]
    tuned = tune_schedule(world, examples, [2], cells=3)
    assert isinstance(tuned, LaddTunedScheduler) and tuned.table.latent_losses.ndim == 3
    again = tune_schedule(world, examples[::-1], [2], cells=3, batch_size=7, rows_at_once=20)
    np.testing.assert_allclose(again.table.latent_losses, tuned.table.latent_losses, atol=1e-9)
