"""Schedulers walk their path in exactly the steps they are given, by the reverse process of the method."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from scipy import stats

from ladd_hf import LaddJointScheduler, LaddSchedulerOutput, LaddSequentialScheduler, RowGenerator, TokenSampler
from ladd_hf.diffusion.noise_schedules import MASK_SCHEDULES, mask_schedule
from ladd_hf.diffusion.paths import SEQUENTIAL
from ladd_hf.diffusion.process import NoiseProcess

ALMOST_NEVER = 1e-4  # p-values below this are failures; the seeds are fixed
SCHEDULERS = {"joint": LaddJointScheduler, "sequential": LaddSequentialScheduler}
KINDS = ("none", "discrete", "continuous")


@pytest.fixture(params=sorted(SCHEDULERS))
def scheduler_class(request):
    return SCHEDULERS[request.param]


@pytest.fixture
def scheduler_for(tiny_config):
    """`scheduler_for(class, kind, **config overrides)`: a scheduler with a tiny model's noise processes."""
    return lambda scheduler_class, kind, **overrides: scheduler_class().for_model(tiny_config(kind, **overrides))


def rows(count, seed=0):
    return RowGenerator.from_seed(seed, torch.arange(count))


def output_of(seed, batch_size, kind, length=12, vocab=11):
    """A denoiser's output of the tiny sizes, with everything at random."""
    generator = torch.Generator().manual_seed(seed)
    size = {"discrete": 9, "continuous": 3}.get(kind)
    prediction = None if size is None else torch.randn(batch_size, 4, size, generator=generator)
    return SimpleNamespace(
        logits=torch.randn(batch_size, length, vocab, generator=generator), latent_prediction=prediction
    )


def row_of(output, index):
    prediction = output.latent_prediction
    return SimpleNamespace(
        logits=output.logits[index], latent_prediction=None if prediction is None else prediction[index]
    )


def run(scheduler, kind, num_steps, batch_size=3, tokens=None, seed=0, latents=None):
    """A whole run with a denoiser that says anything; yields (step, before, after) of (tokens, latents)."""
    scheduler.set_timesteps(num_steps, latent_time=1.0 if latents is None else 0.0)
    random = rows(batch_size, seed)
    tokens = torch.full((batch_size, 12), 10) if tokens is None else tokens
    latents = scheduler.prior_latents(4, random, batch_size) if latents is None else latents
    for step in scheduler.timesteps:
        before = tokens, latents
        output = output_of(100 + int(step), batch_size, kind)
        tokens, latents = scheduler.step(output, step, tokens, latents, generator=random, return_dict=False)
        yield int(step), before, (tokens, latents)


# --- the steps and their times ---


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
