"""The pipeline generates in exactly the evaluations it was given, row by row."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from helpers.sampling import GUIDED, KINDS, MASK, WITH_LATENTS, clean_latents, seeded, watch

from ladd_hf import (
    LaddJointScheduler,
    LaddPipeline,
    LaddPipelineOutput,
    LaddSequentialScheduler,
    RowGenerator,
    TokenSampler,
)

# --- what comes out ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_gives_sequences_without_masks_and_the_latents_they_were_written_from(build, kind, scheduler):
    result = build(kind, scheduler)(num_steps=4, batch_size=3, generator=seeded())
    assert isinstance(result, LaddPipelineOutput)
    assert result.sequences.shape == (3, 12) and result.sequences.dtype == torch.int64
    assert result.sequences.min() >= 0 and result.sequences.max() < MASK
    assert result.texts is None and result.nfe == 4
    if kind == "none":
        assert result.latents is None
    elif kind in ("continuous", "anchors", "separate"):
        assert result.latents.shape == (3, 4, 3) and torch.isfinite(result.latents).all()
    else:
        assert result.latents.shape == (3, 4)
        assert result.latents.min() >= 0 and result.latents.max() < (8 if kind in ("vector", "gumbel") else 9)


def test_with_a_tokenizer_a_run_gives_texts(build, tokenizer):
    pipe = build("discrete", tokenizer=tokenizer)
    result = pipe(num_steps=3, batch_size=2, generator=seeded())
    assert result.texts == tokenizer.batch_decode(result.sequences, skip_special_tokens=True)
    assert all(set(text) <= set("abcdefghi") for text in result.texts) and len(result.texts) == 2
    without = pipe(num_steps=3, batch_size=2, generator=seeded(), output_type="seq")
    assert without.texts is None and torch.equal(without.sequences, result.sequences)


@pytest.mark.parametrize("output_type", ["text", "seq"])
def test_tuple_and_output_object_hold_the_same(build, tokenizer, output_type):
    pipe, options = build("continuous", tokenizer=tokenizer), {"num_steps": 3, "output_type": output_type}
    result = pipe(generator=seeded(), **options)
    first, latents, nfe, lengths = pipe(generator=seeded(), return_dict=False, **options)
    assert first == result.texts if output_type == "text" else torch.equal(first, result.sequences)
    assert torch.equal(latents, result.latents)
    assert nfe == result.nfe == 3 and torch.equal(lengths, result.lengths)


def test_the_length_is_the_longest_the_model_writes_unless_given(build):
    pipe = build("discrete")
    assert pipe(num_steps=2).sequences.shape == (1, 12)
    assert pipe(num_steps=2, length=5).sequences.shape == (1, 5)
    assert pipe(num_steps=2, length=1, batch_size=2).sequences.shape == (2, 1)


def test_the_number_of_steps_has_two_names_and_a_default(build):
    pipe = build("none")
    assert pipe(num_inference_steps=3).nfe == 3
    assert pipe().nfe == 32


# --- rows are independent ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_the_same_alone_and_in_a_batch(build, kind, scheduler):
    pipe = build(kind, scheduler)
    together = pipe(num_steps=5, batch_size=3, generator=[seeded(i) for i in range(3)])
    turned = pipe(num_steps=5, batch_size=3, generator=[seeded(i) for i in (2, 0, 1)])
    assert torch.equal(turned.sequences, together.sequences[[2, 0, 1]])
    for row, generator in ((1, seeded(1)), (2, [seeded(2)])):
        alone = pipe(num_steps=5, generator=generator)
        assert torch.equal(alone.sequences[0], together.sequences[row])
        if kind != "none":
            torch.testing.assert_close(alone.latents[0], together.latents[row])


def test_the_first_rows_of_a_larger_batch_are_those_of_a_smaller_one(build, scheduler):
    pipe = build("discrete", scheduler)
    few, many = (pipe(num_steps=4, batch_size=count, generator=seeded()).sequences for count in (2, 6))
    assert torch.equal(many[:2], few)
    assert len(many.unique(dim=0)) == 6


def test_the_same_generator_state_gives_the_same_run_and_another_another(build):
    pipe = build("continuous")
    runs = [pipe(num_steps=4, batch_size=4, generator=seeded(seed)).sequences for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    torch.manual_seed(5)
    first = pipe(num_steps=4, batch_size=4).sequences
    torch.manual_seed(5)
    assert torch.equal(pipe(num_steps=4, batch_size=4).sequences, first)


@pytest.mark.parametrize("count", [1, 3])
def test_a_list_of_generators_must_have_one_per_row(build, count):
    with pytest.raises(ValueError, match=f"list of {count} generators for a batch of 2"):
        build("none")(num_steps=2, batch_size=2, generator=[seeded(i) for i in range(count)])


@pytest.mark.parametrize(("kind", "guidance_scale"), GUIDED)
def test_leaving_out_idle_rows_changes_no_sample(build, kind, scheduler, guidance_scale):
    pipe = build(kind, scheduler)
    calls = watch(pipe.model)
    options = {"num_steps": 16, "length": 4, "batch_size": 3, "guidance_scale": guidance_scale}
    results, work, made = [], [], []
    for skip in (False, True):
        results.append(pipe(generator=seeded(), skip_idle_rows=skip, **options))
        made.append(len(calls))
        work.append(sum(0 if call.input_ids is None else len(call.input_ids) for call in calls))
        calls.clear()
    assert torch.equal(results[0].sequences, results[1].sequences)
    assert results[0].nfe == 16 and results[1].nfe == made[1] <= 16
    if kind != "none":
        torch.testing.assert_close(results[0].latents, results[1].latents)
    if kind in ("none", "discrete") or scheduler == "sequential":  # vectors of every row move in every joint step
        assert work[1] < work[0]


# --- evaluations ---


@pytest.mark.parametrize("num_steps", [2, 3, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_evaluated_exactly_num_steps_times(build, kind, scheduler, num_steps):
    pipe = build(kind, scheduler)
    calls = watch(pipe.model)
    assert pipe(num_steps=num_steps, batch_size=2, generator=seeded()).nfe == num_steps
    assert len(calls) == num_steps


@pytest.mark.parametrize("num_steps", [1, 5])
@pytest.mark.parametrize("kind", WITH_LATENTS)
def test_with_given_latents_every_evaluation_goes_to_the_tokens(build, kind, scheduler, num_steps):
    pipe = build(kind, scheduler)
    calls, given = watch(pipe.model), clean_latents(kind, 2)
    result = pipe(num_steps=num_steps, latents=given, generator=seeded())
    assert result.nfe == len(calls) == num_steps
    assert torch.equal(result.latents, given)
    assert all(torch.equal(call.latents, given) and call.latent_timesteps == 0 for call in calls)
    assert [float(call.token_timesteps) for call in calls] == pytest.approx(
        [1 - step / num_steps for step in range(num_steps)]
    )


@pytest.mark.parametrize(("kind", "guidance_scale"), GUIDED)
def test_logits_are_computed_exactly_where_tokens_are_revealed(build, kind, scheduler, guidance_scale):
    pipe = build(kind, scheduler)
    calls = watch(pipe.model)
    pipe(num_steps=6, batch_size=3, generator=seeded(), guidance_scale=guidance_scale)
    revealed = 0
    for call, after in zip(calls, [*calls[1:], None], strict=True):
        if call.input_ids is None:  # latents alone
            continue
        assert call.logits_rows == int(call.logits_mask.sum())
        assert (call.input_ids[call.logits_mask] == MASK).all()
        if after is not None and after.input_ids is not None:
            changed = after.input_ids[:3] != call.input_ids[:3]  # guided batches hold every row twice
            assert torch.equal(changed, call.logits_mask[:3])
        revealed += int(call.logits_mask[:3].sum())
    assert revealed == 3 * 12  # each position once


def test_the_sequential_run_shows_no_token_to_the_latents_and_clean_latents_to_the_tokens(build):
    pipe = build("discrete", "sequential")
    calls = watch(pipe.model)
    latents = pipe(num_steps=6, batch_size=2, generator=seeded()).latents
    for step, call in enumerate(calls):
        if step < 3:
            assert (call.input_ids == MASK).all() and call.token_timesteps == 1 and call.logits_rows == 0
        else:
            assert torch.equal(call.latents, latents) and call.latent_timesteps == 0


def test_a_separate_latent_denoiser_writes_its_latents_without_tokens(build):
    pipe = build("separate", "sequential")
    calls, denoised = watch(pipe.model), []
    pipe.model.latent_denoiser.register_forward_hook(lambda module, args, output: denoised.append(args))
    pipe.model.model.register_forward_hook(lambda module, args, output: denoised.append(None))
    pipe(num_steps=6, batch_size=2, generator=seeded())
    assert [call.input_ids is None for call in calls] == [True] * 3 + [False] * 3
    assert sum(call is not None for call in denoised) == 3, "latents that are clean are not denoised again"
    assert len(denoised) == 6, "six evaluations of a network, each of one of the two"


def test_a_joint_run_of_a_separate_latent_denoiser_is_refused(build):
    pipe = build("separate")
    pipe.scheduler = LaddJointScheduler()
    with pytest.raises(ValueError, match="LaddSequentialScheduler"):
        pipe(num_steps=4)


# --- callbacks ---


def test_a_callback_sees_the_state_after_every_step(build, scheduler):
    pipe, seen = build("discrete", scheduler), []

    def callback(the_pipe, index, timestep, tensors):
        assert the_pipe is pipe and index == timestep
        assert set(tensors) == {"tokens", "latents", "unmask"}
        seen.append({name: tensor.clone() for name, tensor in tensors.items()})
        return {}

    result = pipe(
        num_steps=5,
        batch_size=2,
        callback_on_step_end=callback,
        callback_on_step_end_tensor_inputs=["tokens", "latents", "unmask"],
    )
    assert len(seen) == 5
    assert torch.equal(seen[-1]["tokens"], result.sequences) and torch.equal(seen[-1]["latents"], result.latents)
    before = torch.full((2, 12), MASK)
    for state in seen:
        assert torch.equal(state["tokens"] != before, state["unmask"])
        before = state["tokens"]


def test_a_callback_is_given_the_tokens_alone_unless_it_asks_for_more(build):
    names = []
    build("continuous")(num_steps=2, callback_on_step_end=lambda pipe, i, t, tensors: names.append(list(tensors)))
    assert names == [["tokens"], ["tokens"]]


def test_what_a_callback_returns_replaces_tokens_and_latents(build):
    pipe = build("continuous")
    calls, replaced = watch(pipe.model), torch.full((2, 4, 3), 0.25)

    def callback(pipe, index, timestep, tensors):
        return {"tokens": torch.full_like(tensors["tokens"], MASK), "latents": replaced} if index < 3 else {}

    result = pipe(
        num_steps=4,
        batch_size=2,
        callback_on_step_end=callback,
        callback_on_step_end_tensor_inputs=["tokens", "latents"],
    )
    assert all((call.input_ids == MASK).all() and torch.equal(call.latents, replaced) for call in calls[1:])
    assert (result.sequences != MASK).all()  # the last step reveals all of them


# --- the contract ---


def test_anything_that_keeps_the_denoisers_contract_can_be_sampled_from(tiny_config):
    class Counting:
        """Writes at each place the number of the place, from 1 to 9, and codes that say nothing."""

        config = tiny_config("discrete")

        def __call__(self, input_ids, latents=None, token_timesteps=None, latent_timesteps=None, logits_mask=None):
            assert len(token_timesteps) == len(latent_timesteps) == 1
            places = torch.arange(input_ids.shape[1]).expand(input_ids.shape)[logits_mask]
            logits = torch.full((len(places), 11), -torch.inf).scatter(1, 1 + places[:, None] % 9, 0.0)
            return SimpleNamespace(logits=logits, latent_prediction=torch.zeros(*latents.shape, 9))

    pipe = LaddPipeline(Counting(), LaddSequentialScheduler())
    pipe.set_progress_bar_config(disable=True)
    result = pipe(num_steps=5, batch_size=3)
    assert result.sequences.tolist() == [[1 + i % 9 for i in range(12)]] * 3


def test_a_run_is_the_loop_over_the_schedulers_steps(build, scheduler):
    pipe = build("discrete", scheduler)
    result = pipe(num_steps=6, batch_size=3, generator=seeded(), temperature=0.8, top_p=0.9)
    steps = pipe.scheduler
    steps.set_timesteps(6)
    random = RowGenerator.from_generator(seeded(), 3)
    tokens, latents = torch.full((3, 12), MASK), steps.prior_latents(4, random, 3)
    for step in steps.timesteps:
        plan = steps.plan_step(step, tokens, latents, random)
        with torch.no_grad():
            output = pipe.model(tokens, latents, *plan.times, logits_mask=plan.unmask)
        done = steps.step(output, step, tokens, latents, plan=plan, sampler=TokenSampler(0.8, 0.9), generator=random)
        tokens, latents = done.prev_sample, done.prev_latents
    assert torch.equal(result.sequences, tokens) and torch.equal(result.latents, latents)


@pytest.mark.parametrize("waiting", ["while_written", "until_known"])
def test_with_waiting_a_row_of_any_length_is_the_same_alone_and_takes_as_many_evaluations(build, waiting):
    pipe = build("discrete", latent_unpooling="chunk", pad_token_id=0)
    plain = pipe(num_steps=5, length=[8, 12, 9], generator=[torch.Generator().manual_seed(seed) for seed in (1, 2, 3)])
    pipe.scheduler = LaddJointScheduler(token_waiting=waiting)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2, 3)]
    together = pipe(num_steps=5, length=[8, 12, 9], generator=generators)
    assert together.nfe == 5 and (together.latents < 9).all()
    for row, length in enumerate([8, 12, 9]):
        alone = pipe(num_steps=5, length=length, generator=torch.Generator().manual_seed(row + 1))
        assert torch.equal(alone.sequences[0], together.sequences[row, :length])
        assert (alone.sequences != MASK).all() and torch.equal(alone.latents[0], together.latents[row])
    assert not torch.equal(plain.sequences, together.sequences)
