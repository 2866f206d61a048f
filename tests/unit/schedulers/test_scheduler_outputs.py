"""A step's output says what it has written, and how sure the denoiser was of it."""

from __future__ import annotations

import pytest
import torch
from helpers.scheduler_steps import KINDS, output_of, rows

from ladd_hf import LaddJointScheduler, LaddSequentialScheduler, TokenSampler

MASK = 10


def half_written(count=8):
    tokens = torch.full((count, 12), MASK)
    tokens[:, ::2] = 3
    return tokens


@pytest.mark.parametrize(
    "unmasking", ["ancestral", "first_hitting", "entropy", {"name": "threshold", "threshold": 0.4}]
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_to_be_written_is_what_has_changed(kind, unmasking, tiny_config):
    scheduler = LaddJointScheduler(unmasking=unmasking).for_model(tiny_config(kind))
    scheduler.set_timesteps(3)
    tokens, latents, output = half_written(), scheduler.prior_latents(4, rows(8), 8), output_of(0, 8, kind)
    for step in range(3):
        done = scheduler.step(output, step, tokens, latents, generator=rows(8))
        changed = done.prev_sample != tokens
        assert done.transfer_index.dtype == torch.bool and torch.equal(done.transfer_index, changed)
        assert torch.equal(done.sampled_tokens, done.prev_sample.where(changed, torch.tensor(MASK)))
        writable = output.logits[..., 1:MASK].softmax(-1)  # 0 is padding
        of_written = writable.gather(-1, (done.prev_sample - 1).clamp(0, 8)[..., None])[..., 0]
        torch.testing.assert_close(done.sampled_probs, of_written * changed)
        assert step < 2 or torch.equal(changed, tokens == MASK)
        assert done[0] is done.prev_sample


def test_probabilities_are_the_denoisers_whatever_the_sampler(tiny_config):
    scheduler = LaddJointScheduler().for_model(tiny_config("none"))
    scheduler.set_timesteps(1)
    tokens, output = half_written(), output_of(0, 8, "none")
    found = scheduler.step(output, 0, tokens, sampler=TokenSampler(0, 0.5, 1), generator=rows(8))
    likeliest = output.logits[..., 1:MASK].softmax(-1).amax(-1)
    torch.testing.assert_close(found.sampled_probs, likeliest * (tokens == MASK))


def test_tokens_that_are_masked_again_are_not_among_those_written(tiny_config):
    scheduler = LaddJointScheduler(remasking={"name": "rescale", "rate": 1.0}).for_model(tiny_config("none"))
    scheduler.set_timesteps(4)
    tokens = half_written(50)
    done = scheduler.step(output_of(0, 50, "none"), 2, tokens, generator=rows(50))
    assert ((tokens != MASK) & (done.prev_sample == MASK)).any()
    assert torch.equal(done.transfer_index, (tokens == MASK) & (done.prev_sample != MASK))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_step_of_the_latents_alone_writes_no_token_and_precision_is_kept(dtype, tiny_config):
    scheduler = LaddSequentialScheduler().for_model(tiny_config("discrete"))
    scheduler.set_timesteps(2)
    tokens, latents, output = half_written(), scheduler.prior_latents(4, rows(8), 8), output_of(0, 8, "discrete")
    output.logits = output.logits.to(dtype)
    first = scheduler.step(output, 0, tokens, latents, generator=rows(8))
    assert not first.transfer_index.any() and not first.sampled_probs.any() and (first.sampled_tokens == MASK).all()
    second = scheduler.step(output, 1, tokens, first.prev_latents, generator=rows(8))
    assert second.sampled_probs.dtype == torch.promote_types(dtype, torch.float32)
