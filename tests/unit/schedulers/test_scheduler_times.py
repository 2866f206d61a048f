"""Schedulers walk their path in exactly the steps they are given."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers.scheduler_steps import KINDS, SCHEDULERS

from ladd_hf import LaddJointScheduler, LaddSequentialScheduler


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_steps", [2, 3, 8, 33])
def test_there_are_exactly_as_many_steps_as_asked_for(scheduler_class, kind, num_steps, scheduler_for):
    scheduler = scheduler_for(scheduler_class, kind)
    for steps in (num_steps, num_steps + 1):  # the second call starts anew
        scheduler.set_timesteps(steps)
        assert scheduler.timesteps.tolist() == list(range(steps))
        assert scheduler.num_inference_steps == steps


@pytest.mark.parametrize("num_steps", [0, -1, 4.0, 2.5, "4", None])
def test_a_number_of_steps_that_is_no_positive_whole_number_is_refused(scheduler_class, num_steps, scheduler_for):
    with pytest.raises(ValueError, match="`num_steps`"):
        scheduler_for(scheduler_class, "discrete").set_timesteps(num_steps)


def test_one_step_is_too_few_for_latents_first_and_then_tokens(scheduler_for):
    scheduler = scheduler_for(LaddSequentialScheduler, "discrete")
    with pytest.raises(ValueError, match="at least 2"):
        scheduler.set_timesteps(1)
    scheduler.set_timesteps(1, latent_time=0.0)  # nothing but tokens to write
    assert scheduler.times(0)[1] == 0
    scheduler_for(LaddSequentialScheduler, "none").set_timesteps(1)
    scheduler_for(LaddJointScheduler, "discrete").set_timesteps(1)


@pytest.mark.parametrize("spacing", ["uniform", "cosine"])
@pytest.mark.parametrize("kind", KINDS)
def test_times_start_as_noise_and_no_time_ever_rises(scheduler_class, kind, spacing, tiny_config):
    scheduler = scheduler_class(timestep_spacing=spacing).for_model(tiny_config(kind))
    scheduler.set_timesteps(7)
    t_x, t_y = (torch.cat(times) for times in zip(*map(scheduler.times, scheduler.timesteps), strict=True))
    assert t_x[0] == 1 and t_y[0] == (0 if kind == "none" else 1)
    assert (t_x.diff() <= 0).all() and (t_y.diff() <= 0).all()
    assert (t_x > 0).all()  # the last evaluation still has something to reveal


def test_joint_steps_move_both_times_together(scheduler_for):
    scheduler = scheduler_for(LaddJointScheduler, "discrete")
    scheduler.set_timesteps(8)
    for step in range(8):
        t_x, t_y = scheduler.times(step)
        assert float(t_x) == float(t_y) == pytest.approx(1 - step / 8)
        assert scheduler.moves_tokens(step) and scheduler.moves_latents(step)


def test_a_cosine_grid_keeps_more_noise_at_every_step_than_a_uniform_one(tiny_config):
    for scheduler_class, latent_time in itertools.product(SCHEDULERS.values(), (1.0, 0.0)):
        grids = []
        for spacing in ("uniform", "cosine"):
            scheduler = scheduler_class(timestep_spacing=spacing).for_model(tiny_config("discrete"))
            scheduler.set_timesteps(8, latent_time=latent_time)
            grids.append(torch.tensor([[float(time) for time in scheduler.times(step)] for step in range(8)]))
        assert (grids[1] >= grids[0] - 1e-6).all() and (grids[1] > grids[0] + 0.01).any()


def latent_steps(scheduler, num_steps):
    scheduler.set_timesteps(num_steps)
    moves = [scheduler.moves_latents(step) for step in range(num_steps)]
    assert moves == sorted(moves, reverse=True), "latents come first"
    assert [scheduler.moves_tokens(step) for step in range(num_steps)] == [not moved for moved in moves]
    return sum(moves)


@pytest.mark.parametrize(
    ("options", "num_steps", "expected"),
    [
        ({}, 2, {1}),
        ({}, 3, {2}),  # half a step is rounded up, whatever its neighbours are
        ({}, 5, {3}),
        ({}, 7, {4}),
        ({}, 9, {5}),
        ({"latent_share": 0.29}, 50, {15}),  # 14.5, were it not for rounding
        ({"latent_share": 0.25}, 10, {3}),
        ({"latent_share": 0.25}, 9, {2}),
        ({}, 8, {4}),
        ({"latent_share": 0.25}, 8, {2}),
        ({"latent_share": 0.75}, 8, {6}),
        ({"latent_share": 0.01}, 8, {1}),  # at least one step for each of the two
        ({"latent_share": 0.99}, 8, {7}),
        ({"latent_share": 0.99}, 2, {1}),
        ({"latent_share": 0.99}, 3, {2}),
        ({"max_latent_steps": 1}, 8, {1}),
        ({"max_latent_steps": 1}, 2, {1}),
        ({"max_latent_steps": 3}, 8, {3}),
        ({"max_latent_steps": 100}, 8, {4}),
        ({"latent_share": 0.75, "max_latent_steps": 5}, 8, {5}),
    ],
    ids=str,
)
def test_sequential_shares_its_steps_between_latents_and_tokens(options, num_steps, expected, tiny_config):
    scheduler = LaddSequentialScheduler(**options).for_model(tiny_config("discrete"))
    assert latent_steps(scheduler, num_steps) in expected


def test_every_split_of_the_steps_leaves_both_phases_one(tiny_config):
    for share, num_steps in itertools.product((0.001, 0.3, 0.5, 0.9, 0.999), range(2, 12)):
        scheduler = LaddSequentialScheduler(latent_share=share).for_model(tiny_config("discrete"))
        assert 1 <= latent_steps(scheduler, num_steps) <= num_steps - 1


@pytest.mark.parametrize("options", [{"latent_share": x} for x in (0, 1, -0.1, 2)] + [{"max_latent_steps": 0}])
def test_a_split_without_latent_or_token_steps_is_refused(options):
    with pytest.raises(ValueError, match=r"`(latent_share|max_latent_steps)`"):
        LaddSequentialScheduler(**options)


@pytest.mark.parametrize(
    "options", [{"timestep_spacing": "log"}, {"noise_process": {"token_noise_schedule": "linaer"}}]
)
def test_unknown_spacings_and_noise_schedules_are_refused(scheduler_class, options):
    with pytest.raises(ValueError, match="unknown; give one of"):
        scheduler_class(**options)


def test_an_unknown_latent_solver_is_refused(scheduler_class, tiny_config):
    options = scheduler_class.options_of(tiny_config("continuous"))
    with pytest.raises(ValueError, match=r"ddim.*ddpm"):
        scheduler_class(latent_solver="euler", **options)


def test_steps_that_do_not_exist_are_refused(scheduler_class, scheduler_for):
    scheduler = scheduler_for(scheduler_class, "none")
    tokens = torch.full((1, 12), 10)
    with pytest.raises(ValueError, match="set_timesteps"):
        scheduler.plan_step(0, tokens)
    scheduler.set_timesteps(4)
    for step in (4, -1):
        for call in (scheduler.times, lambda at: scheduler.plan_step(at, tokens)):
            with pytest.raises(ValueError, match="from 0 to 3"):
                call(step)


def test_a_run_is_planned_in_time_linear_in_its_steps(monkeypatch):
    """4,096 steps ask for alpha once at each point of the grid, and each knows how many steps write tokens yet."""
    codes = {"latent_type": "discrete", "codebook_size": 8, "latent_noise_schedule": "linear"}
    scheduler, asked = LaddSequentialScheduler(noise_process={"mask_token_id": 9, **codes}), []
    alpha_at = scheduler._tokens.alpha_at
    monkeypatch.setattr(scheduler._tokens, "alpha_at", lambda time: asked.append(time) or alpha_at(time))
    scheduler.set_timesteps(4096)
    plan = scheduler._token_steps
    assert len(asked) == 4097
    moving = [step.steps_left for step in plan if step is not None]
    assert moving == list(range(len(moving), 0, -1)) and 0 < len(moving) < 4096
