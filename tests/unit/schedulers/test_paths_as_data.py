"""A scheduler of any path: given as data, shared among its legs, saved and loaded as JSON."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.exact_world import ExactWorld, p_value, sample_counts
from helpers.registries import kept
from hypothesis import given
from hypothesis import strategies as st

from ladd_hf import (
    LaddJointScheduler,
    LaddPipeline,
    LaddScheduler,
    LaddSequentialScheduler,
    NoiseProcess,
    RowGenerator,
    TimePath,
    TrainingObjective,
    register_latent_solver,
    register_path,
    register_remasking,
    register_timestep_spacing,
    register_unmasking,
)
from ladd_hf.diffusion.paths import path_name, shared_steps
from ladd_hf.schedulers.unmasking import AncestralUnmasking

ALMOST_NEVER = 1e-4  # p-values below this are failures; the seeds are fixed
NAMED = [("joint", LaddJointScheduler), ("sequential", LaddSequentialScheduler)]
BENT = [[1, 1], [1, 0.3], [0, 0]]
STAIRS = [[1, 1], [1, 0.5], [0.5, 0.5], [0.5, 0], [0, 0]]


@given(st.integers(1, 60), st.lists(st.floats(0.01, 100), min_size=1, max_size=6))
def test_steps_are_shared_in_proportion_at_least_one_each(num_steps, weights):
    if num_steps < len(weights):
        with pytest.raises(ValueError, match=f"at least {len(weights)}"):
            shared_steps(num_steps, weights)
        return
    steps = shared_steps(num_steps, weights)
    assert sum(steps) == num_steps and min(steps) >= 1
    if all(weight / sum(weights) * num_steps >= 1 for weight in weights):
        exact = [weight / sum(weights) * num_steps for weight in weights]
        assert all(abs(one - share) <= 1 for one, share in zip(steps, exact, strict=True))


@pytest.mark.parametrize(
    ("path", "scheduler_class"), [("joint", LaddJointScheduler), ("sequential", LaddSequentialScheduler)]
)
def test_the_two_named_paths_are_the_two_schedulers(path, scheduler_class, tiny_config):
    schedulers = [each.for_model(tiny_config("discrete")) for each in (LaddScheduler(path=path), scheduler_class())]
    for num_steps in (2, 3, 8):
        for scheduler in schedulers:
            scheduler.set_timesteps(num_steps)
        assert torch.equal(schedulers[0].token_times, schedulers[1].token_times)
        assert torch.equal(schedulers[0].latent_times, schedulers[1].latent_times)


@pytest.mark.parametrize("num_steps", [4, 5])
@pytest.mark.parametrize(("path", "steps"), [(STAIRS, None), (TimePath(((1, 1), (1, 0.3), (0, 0))), [1, 3])], ids=str)
def test_a_run_along_any_path_has_the_enumerated_law(path, steps, num_steps):
    world = ExactWorld.at_random(vocab=2, length=3, codebook=2, codes=2, seed=4)
    scheduler = LaddScheduler(path=path, steps=steps).for_model(world.config)
    counts = sample_counts(world, scheduler, num_steps)
    corners = path if steps is None else path.vertices
    shares = shared_steps(num_steps, steps or [1] * (len(corners) - 1))
    points = [tuple(map(float, corners[0]))]
    for (start, end), count in zip(itertools.pairwise(corners), shares, strict=True):
        points += [
            tuple(a + (b - a) * done / count for a, b in zip(start, end, strict=True)) for done in range(1, count + 1)
        ]
    assert p_value(counts, world.run_law(points)) > ALMOST_NEVER
    assert p_value(counts, world.run_law([(1.0, 1.0), (0.0, 0.0)])) < ALMOST_NEVER


@pytest.mark.parametrize("path", ["joint", "sequential", BENT, STAIRS], ids=str)
def test_path_and_noise_process_are_saved_and_loaded_as_json(path, tiny_config, tmp_path):
    config = tiny_config("discrete", token_noise_schedule={"name": "polynomial", "degree": 3})
    weights = [2.0] * len(LaddScheduler(path=path).path.legs)
    scheduler = LaddScheduler(path=path, steps=weights, timestep_spacing="cosine").for_model(config)
    scheduler.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "scheduler_config.json").read_text())
    assert saved["path"] == path and saved["steps"] == weights
    assert saved["noise_process"]["token_noise_schedule"] == {"name": "polynomial", "degree": 3}
    loaded = LaddScheduler.from_pretrained(tmp_path)
    assert loaded.path == scheduler.path and loaded.noise_process == NoiseProcess.of(config)
    assert loaded.for_model(config) is loaded


def test_a_pipeline_keeps_its_path(tiny_model, tmp_path):
    pipe = LaddPipeline(tiny_model("discrete"), LaddScheduler(path=BENT, steps=[1, 2]))
    pipe.save_pretrained(tmp_path)
    loaded = LaddPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded.scheduler) is LaddScheduler and loaded.scheduler.path == pipe.scheduler.path
    assert loaded(num_steps=6, batch_size=2).nfe == 6
    assert loaded.scheduler.token_times.tolist() == pytest.approx([1, 1, 1, 0.75, 0.5, 0.25, 0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "tokens"}, "starts at"),
        ({"path": [[1, 0.5], [0, 0]]}, "starts at"),
        ({"path": "diagonal"}, "give one of"),
        ({"path": [[1, 1], [0, 0.5]]}, "to \\(0, 0\\)"),
        ({"path": BENT, "steps": [1]}, "each of the 2 legs"),
        ({"path": BENT, "steps": [1, 0]}, "each of the 2 legs"),
        ({"steps": [0.5, 0.5]}, "each of the 1 legs"),
    ],
    ids=str,
)
def test_paths_and_weights_that_cannot_be_walked_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        LaddScheduler(**options)


def test_a_plan_is_of_its_step_alone(tiny_config):
    scheduler = LaddJointScheduler().for_model(tiny_config("none"))
    scheduler.set_timesteps(4)
    tokens = torch.full((1, 5), 10)
    with pytest.raises(ValueError, match="`plan` is of step 1, but `timestep` is 2"):
        scheduler.step(torch.zeros(1, 5, 11), 2, tokens, plan=scheduler.plan_step(1, tokens))


def test_names_that_users_register_serve_everywhere(tiny_config):
    class EveryOther(AncestralUnmasking):
        """As the law says."""

    with kept():
        register_unmasking("own-order", EveryOther)
        register_timestep_spacing("own-square", lambda done: (1 - done) ** 2)
        register_path("own-path", BENT)
        scheduler = LaddScheduler("own-path", None, "own-square", unmasking="own-order")
        scheduler.set_timesteps(2)
        assert scheduler.for_model(tiny_config("discrete")).path == LaddScheduler(path=BENT).path
        assert scheduler.config.path == BENT, "whoever loads it does not need the name"
        with pytest.raises(ValueError, match="without '\\+'"):
            register_path("a+b", BENT)
        with pytest.raises(ValueError, match="already"):
            register_path("joint", BENT)


def test_options_saved_under_former_names_are_read_and_named(caplog):
    former = {
        "spacing": "cosine",
        "remasking": "cap",
        "remasking_rate": 0.25,
        "mask_token_id": 10,
        "latent_type": "discrete",
        "codebook_size": 9,
        "latent_noise_schedule": "linear",
    }
    scheduler = LaddJointScheduler.from_config(former)
    assert scheduler.config.timestep_spacing == "cosine"
    assert scheduler.config.remasking == {"name": "cap", "rate": 0.25}
    assert (scheduler.noise_process.mask_token_id, scheduler.noise_process.codebook_size) == (10, 9)


def test_a_configuration_of_one_class_keeps_its_path_in_the_general_one():
    sequential = LaddSequentialScheduler(latent_share=0.25, timestep_spacing="cosine")
    general = LaddScheduler.from_config(sequential.config)
    assert general.path == sequential.path and general.config.steps == [0.25, 0.75]
    assert general.config.timestep_spacing == "cosine"
    assert general.steps_per_leg(8) == sequential.steps_per_leg(8) == [2, 6]
    assert LaddScheduler.from_config(general.config, path="joint").config.steps is None
    assert LaddSequentialScheduler.from_config(LaddScheduler(path=BENT).config).config.path == "sequential"


def test_numbers_of_numpy_are_saved(tmp_path):
    options = {"latent_share": np.float64(0.25), "max_latent_steps": np.int64(2), "pad_token_id": np.int64(0)}
    scheduler = LaddSequentialScheduler(**options, remasking={"name": "cap", "rate": np.float32(0.5)})
    scheduler.save_pretrained(tmp_path)
    loaded = LaddSequentialScheduler.from_pretrained(tmp_path).config
    assert (loaded.latent_share, loaded.max_latent_steps) == (0.25, 2) and loaded.remasking["rate"] == 0.5


@pytest.mark.parametrize("corner", [[None, 0], ["0.3", 0], [True, 0], [[1], 0], 3], ids=str)
def test_corners_that_are_no_numbers_are_refused(corner):
    for call in (
        LaddScheduler,
        lambda path: TimePath(tuple(path)),
        lambda path: TrainingObjective(time_distribution=path),
    ):
        with pytest.raises(ValueError, match="give"):
            call([[1, 1], corner, [0, 0]])


def test_lists_are_corners_too():
    assert TimePath([[1, 1], [0, 0]]) == TimePath(((1, 1), (0, 0)))


@pytest.mark.parametrize(("path", "first"), [("sequential", True), ("joint", False), (BENT, False), (STAIRS, False)])
def test_latents_come_first_where_they_are_clean_before_tokens_move(path, first):
    assert LaddScheduler(path=path).path.latents_first == first
    assert not TimePath(((1, 1), (0, 1), (0, 0))).latents_first


def test_an_alias_does_not_rename_a_path_in_metrics():
    with kept():
        register_path("diagonal", "joint")
        register_path("diagonal", [[1, 1], [0, 0]])  # a cell that is run twice
        assert path_name([[1, 1], [0, 0]]) == "joint"


def test_a_solver_and_a_remasking_of_ones_own_are_walked(tiny_config):
    asked = []

    def hold(schedule, latents, noisy, t, s, noise):
        asked.append((float(t), float(s)))
        return noisy

    with kept():
        register_latent_solver("hold", hold)
        register_remasking("half", lambda: lambda alpha_t, alpha_s: 0.5 * min(1.0, (1 - alpha_s) / max(alpha_t, 0.5)))
        scheduler = LaddJointScheduler(latent_solver="hold", remasking="half").for_model(tiny_config("continuous"))
        scheduler.set_timesteps(4)
        tokens, latents = torch.full((64, 12), 10), torch.zeros(64, 4, 3)
        rows, again = RowGenerator.from_seed(0, torch.arange(64)), 0
        for step in range(4):
            output = SimpleNamespace(logits=torch.zeros(64, 12, 11), latent_prediction=torch.ones(64, 4, 3))
            before, given = tokens, latents
            tokens, latents = scheduler.step(output, step, tokens, latents, generator=rows, return_dict=False)
            again += int(((before != 10) & (tokens == 10)).sum())
            assert torch.equal(latents, given if step < 3 else torch.ones(64, 4, 3)), "the last step is the prediction"
        assert len(asked) == 3 and again > 0 and (tokens != 10).all()
