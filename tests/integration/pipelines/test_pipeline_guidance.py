"""Guidance on the latents is the weighted difference of two predictions, and costs no evaluation more."""

from __future__ import annotations

import pytest
import torch
from helpers.sampling import MASK, WITH_LATENTS, clean_latents, seeded, watch


@pytest.mark.parametrize("kind", WITH_LATENTS)
def test_guidance_zero_is_the_unconditional_law_and_more_guidance_is_another(build, kind):
    pipe, options = build(kind), {"num_steps": 3, "batch_size": 8}
    first, second = clean_latents(kind, 8, seed=1), clean_latents(kind, 8, seed=2)

    def sample(latents, scale):
        return pipe(latents=latents, guidance_scale=scale, generator=seeded(), **options).sequences

    assert torch.equal(sample(first, 0.0), sample(second, 0.0))  # the latents do not matter
    assert not torch.equal(sample(first, 1.0), sample(second, 1.0))
    assert not torch.equal(sample(first, 1.0), sample(first, 3.0))
    assert not torch.equal(sample(first, 0.0), sample(first, 1.0))


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_guided_logits_are_the_unconditional_ones_plus_scale_times_the_difference(build, kind, scale):
    # One greedy step with given latents: what is drawn is the largest of the guided logits.
    pipe, given = build(kind), clean_latents(kind, 6)
    model, tokens = pipe.model, torch.full((6, 12), MASK)
    nothing = pipe.scheduler.dropped_latents(given)
    with torch.no_grad():
        conditional, unconditional = (
            model(tokens, latents, torch.ones(6), time).logits
            for latents, time in ((given, torch.zeros(6)), (nothing, torch.ones(6)))
        )
    guided = unconditional[..., 1:MASK] + scale * (conditional - unconditional)[..., 1:MASK]  # 0 is padding
    sequences = pipe(num_steps=1, latents=given, guidance_scale=scale, temperature=0).sequences
    assert torch.equal(sequences, 1 + guided.argmax(-1))


@pytest.mark.parametrize("scale", [0.0, 2.0, 10.0])
@pytest.mark.parametrize("kind", WITH_LATENTS)
def test_guided_runs_are_in_the_vocabulary_and_take_as_many_evaluations(build, kind, scheduler, scale):
    pipe = build(kind, scheduler)
    calls = watch(pipe.model)
    result = pipe(num_steps=4, batch_size=2, guidance_scale=scale, generator=seeded())
    assert len(calls) == result.nfe == 4
    assert result.row_evaluations == sum(len(call.latents) for call in calls) > 8
    assert result.sequences.min() >= 0 and result.sequences.max() < MASK


@pytest.mark.parametrize("kind", ["continuous", "separate"])
def test_guidance_of_a_sequential_run_does_not_touch_its_latents_and_costs_nothing_there(build, kind):
    pipe = build(kind, "sequential")
    plain = pipe(num_steps=4, batch_size=2, generator=seeded()).latents
    calls = watch(pipe.model)
    guided = pipe(num_steps=4, batch_size=2, guidance_scale=3.0, generator=seeded()).latents
    torch.testing.assert_close(plain, guided)
    assert [len(call.latents) for call in calls] == [2, 2, 4, 4]  # doubled where tokens are written


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_guidance_of_a_joint_step_moves_latents_by_the_conditional_half(build, kind):
    first = []

    def keep_first(pipe, step, timestep, tensors):
        if step == 0:
            first.append(tensors["latents"].clone())

    pipe = build(kind, "joint")
    for scale in (1.0, 3.0):
        pipe(
            num_steps=3,
            batch_size=40,
            guidance_scale=scale,
            generator=seeded(),
            callback_on_step_end=keep_first,
            callback_on_step_end_tensor_inputs=["latents"],
        )
    torch.testing.assert_close(*first)


def test_guidance_without_latents_is_refused(build):
    with pytest.raises(ValueError, match="`guidance_scale` is 2"):
        build("none")(num_steps=2, guidance_scale=2)
