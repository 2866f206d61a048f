"""What diffusers' suite of schedulers asks of a scheduler (see `helpers.diffusers_suites`), of all of them.

A sample of the suite is token ids here, a model's output its logits.
"""

from __future__ import annotations

import inspect

import pytest
import torch
from diffusers import BlockRefinementScheduler, DiscreteDDIMScheduler
from diffusers.utils import logging
from helpers.diffusers_suites import SCHEDULERS, LeftOut, unanswered
from helpers.exact_denoiser import ExactDenoiser, random_table
from helpers.exact_losses import exact_table
from helpers.sampling import MASK, seeded

from ladd_hf import LaddJointScheduler, LaddScheduler, LaddSequentialScheduler, LaddTunedScheduler

OWN = (LaddScheduler, LaddJointScheduler, LaddSequentialScheduler, LaddTunedScheduler)
SHAPE = (2, 8)

LEFT_OUT = {
    "test_scheduler_public_api": LeftOut(
        "tokens are not scaled: neither `init_noise_sigma` nor `scale_model_input`, as in diffusers' own schedulers of "
        "tokens",
        lambda: (
            not any(
                hasattr(one, name)
                for one in (*OWN, BlockRefinementScheduler, DiscreteDDIMScheduler)
                for name in ("init_noise_sigma", "scale_model_input")
            )
        ),
    ),
    "test_add_noise_device": LeftOut(
        "`add_noise` masks tokens, there is no noise to be given: test_noise_adding.py",
        lambda: "noise" not in inspect.signature(LaddScheduler.add_noise).parameters,
    ),
    "test_trained_betas": LeftOut(
        "noise schedules are functions of a time in [0, 1], which have no table of betas",
        lambda: not any("trained_betas" in inspect.signature(one).parameters for one in OWN),
    ),
}


@pytest.fixture(scope="module")
def table():
    return exact_table(ExactDenoiser(random_table(), with_codes=False), 3)


@pytest.mark.parametrize("own", OWN)
class TestSchedulers:
    @pytest.fixture(autouse=True)
    def _parts(self, own, table, tiny_config):
        options = {"table": table} if own is LaddTunedScheduler else {}
        self.scheduler = own(**options, temperature=0.5).for_model(tiny_config("none"))

    def stepped(self, scheduler, timestep=0, **options):
        scheduler.set_timesteps(4)
        logits = torch.randn(*SHAPE, 11, generator=seeded(1))
        sample = torch.full(SHAPE, MASK)
        return scheduler.step(logits, scheduler.timesteps[timestep], sample, generator=seeded(), **options)

    def test_from_save_pretrained(self, own, tmp_path):
        self.scheduler.save_config(tmp_path)
        loaded = own.from_pretrained(tmp_path)
        assert torch.equal(self.stepped(loaded, 1).prev_sample, self.stepped(self.scheduler, 1).prev_sample)

    def test_from_pretrained(self, own, tmp_path):
        self.scheduler.save_pretrained(tmp_path)
        saved, loaded = (
            {k: v for k, v in one.config.items() if k[0] != "_"}
            for one in (self.scheduler, own.from_pretrained(tmp_path))
        )
        assert loaded == saved

    def test_compatibles(self, own):
        assert own in self.scheduler.compatibles
        for other in self.scheduler.compatibles:
            back = own.from_config(other.from_config(self.scheduler.config).config)
            walked = (
                {"path", "steps"} if own is LaddScheduler else set()
            )  # it walks the path of the one it is made from
            for name, value in self.scheduler.config.items():
                assert name in walked or name[0] == "_" or back.config[name] == value, name

    def test_step_shape(self, own):
        assert [self.stepped(self.scheduler, step).prev_sample.shape for step in (0, 1)] == [SHAPE, SHAPE]

    def test_scheduler_outputs_equivalence(self, own):
        output, as_tuple = self.stepped(self.scheduler), self.stepped(self.scheduler, return_dict=False)
        assert torch.equal(as_tuple[0], output.prev_sample) and as_tuple[1] is output.prev_latents is None

    def test_deprecated_kwargs(self, own):
        assert ("kwargs" in inspect.signature(own.__init__).parameters) == bool(own._deprecated_kwargs)

    def test_getattr_is_correct(self, own, caplog, recwarn):
        self.scheduler.an_attribute = 5
        self.scheduler.register_to_config(an_option=5)
        logger = logging.get_logger("diffusers.configuration_utils")
        logger.addHandler(caplog.handler)
        try:
            assert self.scheduler.an_attribute == 5 and self.scheduler.save_pretrained == self.scheduler.save_pretrained
        finally:
            logger.removeHandler(caplog.handler)
        assert not caplog.records and not recwarn.list
        with pytest.warns(FutureWarning):
            assert self.scheduler.an_option == 5
        with pytest.raises(AttributeError, match=f"'{own.__name__}' object has no attribute 'does_not_exist'"):
            _ = self.scheduler.does_not_exist


def test_every_test_of_the_suite_is_asked_or_left_out_for_a_reason_that_holds():
    assert not (wrong := unanswered(SCHEDULERS, TestSchedulers, LEFT_OUT)), wrong


@pytest.mark.parametrize("own", [LaddScheduler, LaddJointScheduler, LaddSequentialScheduler])
def test_the_loop_that_drives_diffusers_schedulers_of_tokens_drives_these(own, tiny_config):
    scheduler, sample, random = own().for_model(tiny_config("none")), torch.full(SHAPE, MASK), seeded()
    scheduler.set_timesteps(4, device="cpu")
    assert scheduler.num_inference_steps == len(scheduler.timesteps) == 4
    for timestep in scheduler.timesteps:
        before = (sample == MASK).sum()
        sample = scheduler.step(
            torch.randn(*SHAPE, 11, generator=random), timestep, sample, generator=random
        ).prev_sample
        assert (sample == MASK).sum() <= before
    assert sample.shape == SHAPE and (sample != MASK).all()
