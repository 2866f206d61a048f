"""Tokens that wait for their latents are not revealed beside them, and all are written in the end."""

from __future__ import annotations

import pytest
import torch
from helpers.scheduler_steps import output_of, row_of, rows

from ladd_hf import LaddJointScheduler, LaddScheduler, LaddSequentialScheduler, RowGenerator
from ladd_hf.diffusion.masked import draw_unmask

WAITINGS = ("while_written", "until_known")
MASK, MASK_CODE = 10, 9
CHUNK = torch.arange(12) // 3  # of 12 tokens, 4 latents
STAIRS = [[1, 1], [0.6, 0.3], [0.5, 0.3], [0.3, 0], [0, 0]]


@pytest.fixture
def chunked(tiny_config):
    return tiny_config("discrete", latent_unpooling="chunk")


def steps_of(scheduler, num_steps, kind="discrete", batch_size=40, latents=None, attention_mask=None):
    """A run with a denoiser that says anything; yields (plan, (tokens, latents) before, and after) of each step."""
    scheduler.set_timesteps(num_steps)
    random = rows(batch_size)
    tokens = torch.full((batch_size, 12), MASK)
    if attention_mask is not None:
        tokens = torch.where(attention_mask.bool(), tokens, 1)
    latents = scheduler.prior_latents(4, random, batch_size)
    for step in scheduler.timesteps:
        before = tokens, latents
        plan = scheduler.plan_step(step, tokens, latents, random, tokens == MASK, attention_mask)
        output = output_of(100 + int(step), batch_size, kind)
        tokens, latents = scheduler.step(output, step, tokens, latents, plan=plan, generator=random, return_dict=False)
        yield plan, before, (tokens, latents)


# --- what is revealed ---


@pytest.mark.parametrize("unmasking", ["ancestral", "first_hitting", "top_probability", "entropy"])
@pytest.mark.parametrize("waiting", WAITINGS)
@pytest.mark.parametrize("path", ["joint", STAIRS], ids=str)
def test_a_token_and_its_code_are_drawn_together_in_the_last_step_alone(chunked, path, waiting, unmasking):
    scheduler = LaddScheduler(path=path, token_waiting=waiting, unmasking=unmasking).for_model(chunked)
    steps = list(steps_of(scheduler, 9))
    assert len(steps) == 9
    revealed_early = torch.zeros((), dtype=torch.int64)
    for number, (plan, (tokens, codes), (after, new_codes)) in enumerate(steps):
        revealed = (tokens == MASK) & (after != MASK)
        written = (codes == MASK_CODE) & (new_codes != MASK_CODE)
        if number < 8:
            held = written if waiting == "while_written" else codes == MASK_CODE
            assert not (revealed & held[:, CHUNK]).any()
            assert not (plan.unmask & held[:, CHUNK]).any(), "no logits are needed there"
            revealed_early += revealed.sum()
    assert revealed_early > 100
    assert (steps[-1][2][0] < MASK).all() and (steps[-1][2][1] < MASK_CODE).all()


@pytest.mark.parametrize("waiting", WAITINGS)
def test_without_chunks_a_token_waits_for_every_latent(tiny_config, waiting):
    scheduler = LaddJointScheduler(token_waiting=waiting).for_model(tiny_config("discrete"))
    assert scheduler.config.latent_unpooling == "none"
    early = 0
    for _, (tokens, codes), (after, new_codes) in list(steps_of(scheduler, 9))[:-1]:
        held = codes != new_codes if waiting == "while_written" else codes == MASK_CODE
        revealed = (tokens != after).any(1)
        assert not (revealed & held.any(1)).any()
        early += int(revealed.sum())
    assert early > 0


@pytest.mark.parametrize("waiting", WAITINGS)
def test_continuous_latents_are_known_when_they_are_clean(tiny_config, waiting):
    config = tiny_config("continuous", latent_unpooling="chunk")
    path = [[1, 1], [0.8, 0.5], [0.4, 0], [0, 0]]
    scheduler = LaddScheduler(path=path, token_waiting=waiting).for_model(config)
    moved = [bool((tokens != after).any()) for _, (tokens, _), (after, _) in steps_of(scheduler, 3, "continuous")]
    assert moved == [waiting == "while_written", False, True]


def test_by_confidence_and_by_number_only_tokens_that_do_not_wait_are_counted(chunked):
    tokens, codes = torch.full((1, 12), MASK), torch.tensor([[3, MASK_CODE, 5, MASK_CODE]])
    for unmasking, expected in (("first_hitting", 2), ("entropy", 2)):  # of six: a third, in each order
        scheduler = LaddJointScheduler(token_waiting="until_known", unmasking=unmasking).for_model(chunked)
        scheduler.set_timesteps(3)
        plan = scheduler.plan_step(0, tokens, codes, rows(1))
        after, _ = scheduler.step(
            output_of(1, 1, "discrete"), 0, tokens, codes, plan=plan, generator=rows(1), return_dict=False
        )
        revealed = (after != MASK)[0].view(4, 3).sum(1)
        assert int(revealed.sum()) == expected and not revealed[[1, 3]].any()


def test_chunks_are_those_of_the_text_without_its_padding(chunked):
    """Two texts of 8 tokens, two for each code, one of them padded at its start; the first code is known."""
    mask = torch.tensor([[1] * 8 + [0] * 4, [0] * 4 + [1] * 8])
    tokens = torch.where(mask.bool(), MASK, 1)
    codes = torch.tensor([[5, MASK_CODE, MASK_CODE, MASK_CODE]] * 2)
    scheduler = LaddJointScheduler(token_waiting="until_known").for_model(chunked)
    scheduler.set_timesteps(2)
    plan = scheduler.plan_step(0, tokens, codes, rows(2), tokens == MASK, mask)
    waiting = plan.waiting & (tokens == MASK)
    assert waiting.long().tolist() == [[0] * 2 + [1] * 6 + [0] * 4, [0] * 6 + [1] * 6]


def test_a_row_is_the_same_alone_and_in_a_batch(chunked):
    scheduler = LaddJointScheduler(token_waiting="while_written").for_model(chunked)
    *_, (_, _, (tokens, codes)) = steps_of(scheduler, 6, batch_size=5)
    scheduler.set_timesteps(6)
    random = RowGenerator(rows(5).keys[3:4])
    alone, own = torch.full((1, 12), MASK), scheduler.prior_latents(4, random, 1)
    for step in scheduler.timesteps:
        output = output_of(100 + int(step), 5, "discrete")
        one = row_of(output, slice(3, 4))
        alone, own = scheduler.step(one, step, alone, own, generator=random, return_dict=False)
    assert torch.equal(alone[0], tokens[3]) and torch.equal(own[0], codes[3])


def test_by_default_the_positions_of_tokens_are_drawn_before_those_of_codes(chunked):
    """As in runs before tokens could wait, so that a seed gives the same samples."""
    scheduler = LaddJointScheduler().for_model(chunked)
    scheduler.set_timesteps(4)
    tokens, codes, again = torch.full((6, 12), MASK), torch.full((6, 4), MASK_CODE), rows(6)
    plan = scheduler.plan_step(0, tokens, codes, rows(6))
    assert torch.equal(plan.unmask, draw_unmask(tokens == MASK, 0.0, 0.25, again.uniform(12)))
    assert torch.equal(plan.latent_moves, draw_unmask(codes == MASK_CODE, 0.0, 1 - 0.75**2, again.uniform(4)))
    assert plan.waiting is None and plan.counted_mask is None


# --- the option ---


def test_it_is_saved_and_kept_across_schedulers_and_taken_from_the_model(chunked, tmp_path):
    scheduler = LaddJointScheduler(token_waiting="until_known").for_model(chunked)
    assert scheduler.config.latent_unpooling == "chunk" and scheduler.for_model(chunked) is scheduler
    scheduler.save_pretrained(tmp_path)
    loaded = LaddJointScheduler.from_pretrained(tmp_path)
    assert loaded.config.token_waiting == "until_known" and loaded.for_model(chunked) is loaded
    other = LaddSequentialScheduler.from_config(loaded.config)
    assert other.config.token_waiting == "until_known" and other.config.latent_unpooling == "chunk"
    old = {name: value for name, value in scheduler.config.items() if name not in ("token_waiting", "latent_unpooling")}
    before = LaddJointScheduler.from_config(old)
    assert before.config.token_waiting == "none" and not before.for_model(chunked).waits
    assert before.for_model(chunked).config.latent_unpooling == "chunk"


def test_it_tells_of_which_bound_its_runs_are(tiny_config, chunked):
    late, plain = (LaddJointScheduler(token_waiting=one) for one in ("until_known", "none"))
    of_codes, of_tokens = late.for_model(chunked), late.for_model(tiny_config("none"))
    assert of_codes.waits and of_codes.has_marginal_bound and not of_codes.is_ancestral
    assert not of_tokens.waits and of_tokens.is_ancestral, "nothing to wait for"
    assert plain.for_model(chunked).is_ancestral
    assert not late.for_model(tiny_config("continuous")).has_marginal_bound
    remasks = LaddJointScheduler(token_waiting="until_known", remasking={"name": "cap", "rate": 0.1})
    assert not remasks.for_model(chunked).has_marginal_bound


def test_what_cannot_wait_is_refused(tiny_config):
    with pytest.raises(ValueError, match=r"`token_waiting` 'long' is unknown; give one of .*'until_known'"):
        LaddJointScheduler(token_waiting="long")
    with pytest.raises(ValueError, match="`latent_unpooling` is 'chunks'; give 'none' or 'chunk'"):
        LaddJointScheduler(latent_unpooling="chunks")
    conditioned = tiny_config("discrete", token_time_conditioning=True)
    LaddJointScheduler().for_model(conditioned)
    with pytest.raises(ValueError, match=r"conditioned on t_x .* `token_waiting` 'while_written' .* use 'none'"):
        LaddJointScheduler(token_waiting="while_written").for_model(conditioned)
