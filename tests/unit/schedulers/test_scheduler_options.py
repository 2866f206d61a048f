"""Options that cannot work are refused in one sentence, where they are given."""

from __future__ import annotations

import pytest
import torch

from ladd_hf import LaddJointScheduler, LaddSequentialScheduler


@pytest.mark.parametrize("scheduler_class", [LaddJointScheduler, LaddSequentialScheduler])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"unmasking": "greedy"}, "`unmasking` 'greedy' is unknown.*first_hitting"),
        ({"unmasking": {"name": "margin", "sharp": 2}}, "'margin' has no option 'sharp'"),
        ({"remasking": "loop"}, "`remasking` 'loop' is unknown.*rescale"),
        ({"remasking": "cap"}, "'cap' needs the option `rate`"),
        ({"remasking": {"name": "none", "rate": 0.5}}, "'none' has no option 'rate'"),
        ({"remasking": {"name": "cap", "rate": 0}}, "a rate above 0"),
        ({"remasking": {"name": "rescale", "rate": 1.5}}, "a rate above 0"),
        ({"remasking": {"name": "cap", "rate": 0.1}, "unmasking": "margin"}, "goes with the ancestral law"),
        ({"noise_process": 3}, "`noise_process` is 3; give a NoiseProcess or a mapping"),
        ({"noise_process": {"mask": 3}}, "`noise_process` has no entry 'mask'; it takes mask_token_id"),
        ({"noise_process": {"latent_type": "code"}}, "`noise_process.latent_type` is 'code'; give one of 'none'"),
        ({"noise_process": {"token_noise_schedule": "linaer"}}, "unknown; give one of"),
        ({"latent_solver": "euler"}, "'euler' is unknown.*ddim"),
    ],
    ids=str,
)
def test_options_are_checked_when_the_scheduler_is_built(scheduler_class, options, said):
    with pytest.raises(ValueError, match=said):
        scheduler_class(**options)


def test_a_share_of_a_step_is_no_limit_of_steps():
    with pytest.raises(ValueError, match=r"`max_latent_steps` is 1\.5"):
        LaddSequentialScheduler(max_latent_steps=1.5)


def test_a_scheduler_that_knows_no_mask_token_says_so():
    scheduler = LaddJointScheduler()
    scheduler.set_timesteps(2)
    tokens = torch.zeros(1, 3, dtype=torch.int64)
    for call in (
        lambda: scheduler.plan_step(0, tokens),
        lambda: scheduler.step(torch.zeros(1, 3, 4), 0, tokens),
        lambda: scheduler.add_noise(tokens, torch.tensor(0.5)),
    ):
        with pytest.raises(ValueError, match="does not know the mask token"):
            call()


@pytest.mark.parametrize("time", [-0.1, 1.1, float("nan")])
def test_latents_start_at_a_time_between_clean_and_noise(time, tiny_config):
    scheduler = LaddJointScheduler().for_model(tiny_config("discrete"))
    with pytest.raises(ValueError, match="`latent_time` is"):
        scheduler.set_timesteps(2, latent_time=time)
