"""Schedulers keep their options, and noise tokens and latents as the model's process does."""

from __future__ import annotations

import pytest
import torch
from helpers.scheduler_steps import ALMOST_NEVER, KINDS, rows, run
from scipy import stats

from ladd_hf import LaddJointScheduler, LaddSequentialScheduler
from ladd_hf.diffusion.noise_schedules import MASK_SCHEDULES, mask_schedule
from ladd_hf.diffusion.paths import SEQUENTIAL
from ladd_hf.diffusion.process import NoiseProcess

# --- configuration ---


@pytest.mark.parametrize("kind", KINDS)
def test_saving_and_loading_keeps_every_option(scheduler_class, kind, tiny_config, tmp_path):
    config = tiny_config(kind, token_noise_schedule={"name": "polynomial", "degree": 3})
    scheduler = scheduler_class(timestep_spacing="cosine", latent_solver="ddpm").for_model(config)
    scheduler.save_pretrained(tmp_path)
    loaded = scheduler_class.from_pretrained(tmp_path)
    own = {name for name in scheduler.config if not name.startswith("_")}
    assert {name: loaded.config[name] for name in own} == {name: scheduler.config[name] for name in own}
    assert loaded.for_model(config) is loaded
    runs = [list(run(each, kind, 4))[-1][2][0] for each in (scheduler, loaded)]
    assert torch.equal(*runs)


def test_schedulers_are_built_from_each_others_configuration(tiny_config):
    sequential = LaddSequentialScheduler(latent_share=0.25, timestep_spacing="cosine").for_model(
        tiny_config("discrete")
    )
    joint = LaddJointScheduler.from_config(sequential.config)
    back = LaddSequentialScheduler.from_config(joint.config)
    for each in (joint, back):
        assert (
            each.config.timestep_spacing == "cosine"
            and each.noise_process.codebook_size == 9
            and each.noise_process.mask_token_id == 10
        )
    joint.set_timesteps(4)
    assert joint.moves_tokens(0) and joint.moves_latents(0)
    back.set_timesteps(4)
    assert back.path == SEQUENTIAL and not back.moves_tokens(0)


def test_a_scheduler_takes_its_noise_processes_from_the_model_and_keeps_its_own_options(tiny_config):
    config = tiny_config("continuous", token_noise_schedule="cosine", latent_prediction_type="epsilon")
    plain = LaddSequentialScheduler(latent_share=0.75, latent_solver="ddpm")
    fitted = plain.for_model(config)
    assert fitted.noise_process == NoiseProcess.of(config)
    for name in fitted.config.noise_process:
        assert fitted.config.noise_process[name] == getattr(config, name)
    assert fitted.config.latent_share == 0.75 and fitted.config.latent_solver == "ddpm"
    assert plain.noise_process.mask_token_id is None  # and is not changed itself
    assert fitted.for_model(config) is fitted


# --- noise and latents at the ends ---


def test_prior_latents_are_noise_of_the_models_kind(scheduler_class, scheduler_for):
    assert scheduler_for(scheduler_class, "none").prior_latents(4, None, 2) is None
    codes = scheduler_for(scheduler_class, "discrete").prior_latents(4, None, 2)
    assert codes.tolist() == [[9] * 4] * 2
    vectors = scheduler_for(scheduler_class, "continuous").prior_latents(4, torch.Generator().manual_seed(0), 2000)
    assert vectors.shape == (2000, 4, 3)
    assert stats.kstest(vectors.flatten().numpy(), "norm").pvalue > ALMOST_NEVER
    fewer = scheduler_for(scheduler_class, "continuous").prior_latents(4, torch.Generator().manual_seed(0), 3)
    assert torch.equal(fewer, vectors[:3])


@pytest.mark.parametrize("name", sorted(MASK_SCHEDULES))
def test_add_noise_masks_the_schedules_share_at_each_rows_time(scheduler_class, name, scheduler_for):
    scheduler = scheduler_for(scheduler_class, "none", token_noise_schedule=name)
    clean, times = torch.full((3, 10_000), 4), torch.tensor([0.1, 0.5, 0.9])
    noisy = scheduler.add_noise(clean, times, rows(3))
    for row, alpha in zip(noisy, mask_schedule(name).alpha(times).tolist(), strict=True):
        assert set(row.tolist()) <= {4, 10}
        assert stats.binomtest(int((row == 4).sum()), len(row), alpha).pvalue > ALMOST_NEVER
    assert torch.equal(scheduler.add_noise(clean, 0.5, rows(3))[1], noisy[1])  # one time for all rows


def test_add_latent_noise_noises_to_each_rows_time(scheduler_class, scheduler_for):
    clean, times = torch.full((2, 4000, 3), 0.5), torch.tensor([0.2, 0.9], dtype=torch.float64)
    scheduler = scheduler_for(scheduler_class, "continuous")
    noisy = scheduler.add_latent_noise(clean, times, rows(2))
    variance = (1 - times).sqrt() * (1 - 2e-4) + 1e-4  # a(t)^2 of the default schedule
    expected = torch.stack([0.5 * variance.sqrt(), (1 - variance).sqrt()])
    actual = torch.stack([noisy.mean((1, 2)), noisy.std((1, 2))]).double()
    torch.testing.assert_close(actual, expected, rtol=0, atol=0.04)
    codes = scheduler_for(scheduler_class, "discrete").add_latent_noise(torch.zeros(1, 9000).long(), 0.6, rows(1))
    assert stats.binomtest(int((codes == 9).sum()), 9000, 0.6**2).pvalue > ALMOST_NEVER


@pytest.mark.parametrize("times", [-0.1, 1.1, float("nan"), torch.tensor([0.2, 3.0])], ids=str)
def test_noise_beyond_the_two_ends_of_time_is_refused(scheduler_class, times, scheduler_for):
    with pytest.raises(ValueError, match="`timesteps`"):
        scheduler_for(scheduler_class, "none").add_noise(torch.zeros(2, 5).long(), times)


def test_a_scheduler_without_latents_says_so(scheduler_class, scheduler_for):
    scheduler, latents = scheduler_for(scheduler_class, "none"), torch.zeros(1, 4, 3)
    for call in (
        lambda: scheduler.check_latents(latents, 1, 4),
        lambda: scheduler.dropped_latents(latents),
        lambda: scheduler.add_latent_noise(latents, 0.5),
    ):
        with pytest.raises(ValueError, match="no latents"):
            call()
