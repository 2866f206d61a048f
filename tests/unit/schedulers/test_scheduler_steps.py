"""Steps and whole runs follow the reverse process of the method."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from helpers.scheduler_steps import ALMOST_NEVER, KINDS, output_of, row_of, rows, run
from scipy import stats

from ladd_hf import LaddJointScheduler, LaddSchedulerOutput, LaddSequentialScheduler, RowGenerator, TokenSampler
from ladd_hf.diffusion.noise_schedules import MASK_SCHEDULES, mask_schedule

# --- one step ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_returns_the_same_as_a_tuple_and_as_an_output(scheduler_class, kind, scheduler_for):
    scheduler = scheduler_for(scheduler_class, kind)
    scheduler.set_timesteps(4)
    tokens, latents, output = torch.full((3, 12), 10), scheduler.prior_latents(4, rows(3), 3), output_of(0, 3, kind)
    as_output = scheduler.step(output, 1, tokens, latents, generator=rows(3))
    as_tuple = scheduler.step(output, 1, tokens, latents, generator=rows(3), return_dict=False)
    assert isinstance(as_output, LaddSchedulerOutput) and isinstance(as_tuple, tuple) and len(as_tuple) == 2
    assert torch.equal(as_output.prev_sample, as_tuple[0])
    assert as_tuple[1] is None if kind == "none" else torch.equal(as_output.prev_latents, as_tuple[1])


@pytest.mark.parametrize("kind", KINDS)
def test_positions_drawn_before_the_step_are_those_it_would_draw_itself(scheduler_class, kind, scheduler_for):
    scheduler = scheduler_for(scheduler_class, kind)
    scheduler.set_timesteps(4)
    tokens, latents, output = torch.full((3, 12), 10), scheduler.prior_latents(4, rows(3), 3), output_of(0, 3, kind)
    for step in range(4):
        inside = scheduler.step(output, step, tokens, latents, generator=rows(3))
        random = rows(3)
        plan = scheduler.plan_step(step, tokens, latents, random)
        outside = scheduler.step(output, step, tokens, latents, plan=plan, generator=random)
        assert torch.equal(inside.prev_sample, outside.prev_sample)
        if kind != "none":
            assert torch.equal(inside.prev_latents, outside.prev_latents)
        random = rows(3)
        plan = scheduler.plan_step(step, tokens, latents, random)
        only_there = SimpleNamespace(logits=output.logits[plan.unmask], latent_prediction=output.latent_prediction)
        short = scheduler.step(only_there, step, tokens, latents, plan=plan, generator=random)
        assert torch.equal(short.prev_sample, outside.prev_sample)


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_latent_moves_drawn_before_the_step_are_those_it_would_draw_itself(scheduler_class, kind, scheduler_for):
    scheduler, tokens, output = scheduler_for(scheduler_class, kind), torch.full((3, 12), 10), output_of(0, 3, kind)
    scheduler.set_timesteps(4)
    latents = scheduler.prior_latents(4, rows(3), 3)
    for step in range(4):
        inside = scheduler.step(output, step, tokens, latents, generator=rows(3))
        random = rows(3)
        plan = scheduler.plan_step(step, tokens, latents, random)
        moves = plan.latent_moves
        outside = scheduler.step(output, step, tokens, latents, generator=random, plan=plan)
        assert torch.equal(inside.prev_sample, outside.prev_sample)
        assert torch.equal(inside.prev_latents, outside.prev_latents)
        assert (moves is None) != scheduler.moves_latents(step)
        if moves is not None:
            changed = outside.prev_latents != latents
            assert torch.equal(changed if kind == "discrete" else changed.all(-1), moves)


def test_logits_alone_are_an_output_where_there_are_no_latents(scheduler_for):
    scheduler, tokens, output = (
        scheduler_for(LaddJointScheduler, "none"),
        torch.full((2, 12), 10),
        output_of(0, 2, "none"),
    )
    scheduler.set_timesteps(1)
    whole = scheduler.step(output, 0, tokens, generator=rows(2)).prev_sample
    assert torch.equal(scheduler.step(output.logits, 0, tokens, generator=rows(2)).prev_sample, whole)


def test_which_positions_are_revealed_does_not_depend_on_the_logits(scheduler_for):
    scheduler, tokens = scheduler_for(LaddJointScheduler, "none"), torch.full((50, 12), 10)
    scheduler.set_timesteps(3)
    results = [
        scheduler.step(output_of(seed, 50, "none"), 1, tokens, generator=rows(50)).prev_sample for seed in (0, 1)
    ]
    assert torch.equal(results[0] == 10, results[1] == 10)
    assert not torch.equal(*results)


def test_the_mask_token_is_never_produced_even_where_the_logits_want_it(scheduler_class, scheduler_for):
    scheduler, output = scheduler_for(scheduler_class, "none"), output_of(0, 20, "none")
    output.logits[..., 10] = 50.0
    scheduler.set_timesteps(1)
    for temperature in (0, 1.0, 5.0):
        sampler = TokenSampler(temperature)
        after = scheduler.step(output, 0, torch.full((20, 12), 10), sampler=sampler, generator=rows(20))
        assert (after.prev_sample != 10).all()


def test_temperature_zero_takes_the_most_likely_token_and_top_p_leaves_out_the_unlikely(scheduler_for):
    scheduler, output = scheduler_for(LaddJointScheduler, "none"), output_of(0, 20, "none")
    output.logits[..., [0, 10]] = -torch.inf  # padding and mask
    best, worst = output.logits.argmax(-1), 1 + output.logits[..., 1:10].argmin(-1)
    scheduler.set_timesteps(1)

    def drawn(**options):
        sampler, tokens = TokenSampler(**options), torch.full((20, 12), 10)
        return scheduler.step(output, 0, tokens, sampler=sampler, generator=rows(20)).prev_sample

    assert torch.equal(drawn(temperature=0), best)
    assert torch.equal(drawn(top_p=1e-6), best)
    assert not torch.equal(drawn(), best)
    assert (drawn(top_p=0.7) != worst).all()
    assert (drawn(temperature=100.0) == worst).any()


@pytest.mark.parametrize("options", [{"temperature": -0.1}, {"top_p": 0}, {"top_p": 1.1}, {"top_p": -1}])
def test_a_negative_temperature_and_a_top_p_that_is_no_share_are_refused(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}`"):
        TokenSampler(**options)


def test_options_given_by_position_are_kept_for_a_model(tiny_config):
    scheduler = LaddSequentialScheduler(0.25, None, "cosine").for_model(tiny_config("discrete"))
    assert (scheduler.config.latent_share, scheduler.config.timestep_spacing) == (0.25, "cosine")


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batched_step_equals_the_steps_of_its_rows_alone_and_in_any_order(scheduler_class, kind, solver, tiny_config):
    scheduler = scheduler_class(latent_solver=solver).for_model(tiny_config(kind))
    scheduler.set_timesteps(4)
    tokens, latents, output = torch.full((3, 12), 10), scheduler.prior_latents(4, rows(3), 3), output_of(0, 3, kind)
    tokens[1, 5:] = 7
    examples = torch.arange(3)

    def step(at, index):
        random = RowGenerator.from_seed(0, examples[index])
        own = None if latents is None else latents[index]
        return scheduler.step(row_of(output, index), at, tokens[index], own, generator=random)

    for at in range(4):
        together = step(at, slice(None))
        for index in ([0], [1], [2], [2, 0, 1]):
            part = step(at, index)
            assert torch.equal(part.prev_sample, together.prev_sample[index])
            if kind != "none":
                assert torch.equal(part.prev_latents, together.prev_latents[index])


def test_a_list_of_generators_gives_each_row_its_own_run(scheduler_class, scheduler_for):
    scheduler, output, tokens = scheduler_for(scheduler_class, "none"), output_of(0, 2, "none"), torch.full((2, 12), 10)
    scheduler.set_timesteps(2)
    together = scheduler.step(output, 0, tokens, generator=[torch.Generator().manual_seed(i) for i in (4, 5)])
    for index, seed in enumerate((4, 5)):
        generator = torch.Generator().manual_seed(seed)
        alone = scheduler.step(row_of(output, [index]), 0, tokens[:1], generator=generator)
        assert torch.equal(alone.prev_sample[0], together.prev_sample[index])
    with pytest.raises(ValueError, match="list of 1 generators"):
        scheduler.step(output, 0, tokens, generator=[torch.Generator()])


# --- a whole run ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_steps", [2, 3, 8])
def test_visible_tokens_never_change_and_the_last_step_reveals_all_the_others(
    scheduler_class, kind, num_steps, scheduler_for
):
    scheduler, prompt = scheduler_for(scheduler_class, kind), torch.full((3, 12), 10)
    prompt[0, 2:5], prompt[1, ::2] = 1, 0
    for step, (before, _), (after, _) in run(scheduler, kind, num_steps, tokens=prompt):
        visible = before != 10
        assert torch.equal(after[visible], before[visible])
        if step == num_steps - 1:
            assert (after != 10).all()
    assert torch.equal(after[prompt != 10], prompt[prompt != 10])


@pytest.mark.parametrize("name", sorted(MASK_SCHEDULES))
def test_the_last_step_reveals_everything_whatever_the_noise_schedule_leaves_at_time_zero(
    scheduler_class, name, scheduler_for
):
    scheduler = scheduler_for(scheduler_class, "discrete", token_noise_schedule=name, latent_noise_schedule=name)
    *_, (_, _, (tokens, codes)) = run(scheduler, "discrete", 4, batch_size=200)
    assert (tokens != 10).all() and (codes != 9).all()


@pytest.mark.parametrize("name", sorted(MASK_SCHEDULES))
def test_after_each_step_the_schedules_share_is_visible(name, scheduler_for):
    scheduler = scheduler_for(LaddJointScheduler, "discrete", token_noise_schedule=name, latent_noise_schedule="cosine")
    count = 400
    for step, _, (tokens, codes) in run(scheduler, "discrete", 5, batch_size=count):
        for ids, mask_id, schedule in ((tokens, 10, name), (codes, 9, "cosine")):
            alpha = mask_schedule(schedule).alpha(torch.tensor([1.0, 1 - (step + 1) / 5], dtype=torch.float64))
            share = 1.0 if step == 4 else float(1 - (1 - alpha[1]) / (1 - alpha[0]))
            visible = int((ids != mask_id).sum())
            assert stats.binomtest(visible, ids.numel(), min(share, 1.0)).pvalue > ALMOST_NEVER


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_sequential_writes_no_token_before_the_latents_are_clean_and_leaves_them_alone_then(kind, scheduler_for):
    states = [after for _, _, after in run(scheduler_for(LaddSequentialScheduler, kind), kind, 6)]
    for tokens, _ in states[:3]:
        assert (tokens == 10).all()
    for _, latents in states[2:]:
        assert torch.equal(latents, states[2][1])
    assert not torch.equal(states[0][1], states[2][1])
    if kind == "discrete":
        assert (states[2][1] != 9).all()
    else:  # the last step of the latents returns what is predicted there
        assert torch.equal(states[2][1], output_of(102, 3, kind).latent_prediction)


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_given_latents_stay_as_they_are_and_all_steps_go_to_the_tokens(scheduler_class, kind, scheduler_for):
    given = torch.zeros(3, 4, dtype=torch.int64) if kind == "discrete" else torch.randn(3, 4, 3)
    scheduler = scheduler_for(scheduler_class, kind)
    for step, _, after in run(scheduler, kind, 5, latents=given):
        assert torch.equal(after[1], given)
        assert float(scheduler.times(step)[0]) == pytest.approx(1 - step / 5) and scheduler.times(step)[1] == 0
    assert (after[0] != 10).all()
