"""Callbacks as diffusers has them: objects that name their tensors, guidance that they change, runs that they end."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from diffusers.callbacks import (
    MultiPipelineCallbacks,
    PipelineCallback,
    SDCFGCutoffCallback,
    SDXLCFGCutoffCallback,
)
from helpers.sampling import MASK, seeded, watch


class Keeps(PipelineCallback):
    """Keeps what it is given in each step."""

    def __init__(self, *names):
        super().__init__()
        self.names, self.given = list(names), []

    @property
    def tensor_inputs(self):
        return self.names

    def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
        self.given.append(dict(callback_kwargs))
        return callback_kwargs


def at(step, act):
    """A callback that does something after one step."""
    return lambda pipe, index, timestep, tensors: act(pipe) if index == step else None


# --- diffusers' own objects ---


@pytest.mark.parametrize("names", [["tokens"], ["latents", "unmask"], []], ids=str)
def test_the_tensors_that_a_callback_object_names_are_taken(build, names):
    keeps, pipe = Keeps(*names), build("discrete")
    pipe(num_steps=3, callback_on_step_end=keeps, callback_on_step_end_tensor_inputs=["sampled_probs"])
    assert [list(given) for given in keeps.given] == [names] * 3
    assert all(torch.is_tensor(one) for given in keeps.given for one in given.values())


def test_several_callbacks_get_what_any_of_them_names_one_after_the_other(build):
    class Masks(Keeps):
        def callback_fn(self, pipeline, step_index, timestep, callback_kwargs):
            super().callback_fn(pipeline, step_index, timestep, callback_kwargs)
            return {**callback_kwargs, "tokens": torch.full_like(callback_kwargs["tokens"], MASK)}

    masks, keeps, pipe = Masks("tokens"), Keeps("latents", "tokens"), build("discrete")
    calls = watch(pipe.model)
    several = MultiPipelineCallbacks([masks, keeps])
    pipe(num_steps=3, generator=seeded(), callback_on_step_end=several)
    assert all(set(given) == {"tokens", "latents"} for given in masks.given + keeps.given)
    assert all((given["tokens"] == MASK).all() for given in keeps.given), "the second sees what the first returned"
    assert all((call.input_ids == MASK).all() for call in calls), "and so do the steps that follow"


@pytest.mark.parametrize("cutoff", [(0.5,), (None, 4)], ids=["by share", "by number"])
@pytest.mark.parametrize("kind", ["discrete", "continuous"])
def test_diffusers_callback_cuts_guidance_off(build, kind, cutoff):
    pipe, options = build(kind), {"num_steps": 8, "batch_size": 30, "guidance_scale": 3.0}
    calls = watch(pipe.model)
    cut = pipe(generator=seeded(), callback_on_step_end=SDCFGCutoffCallback(*cutoff), **options)
    assert [len(call.input_ids) for call in calls] == [60] * 5 + [30] * 3, "steps 0 to 4 are guided"
    assert cut.row_evaluations == 390 and cut.nfe == 8
    assert (pipe.guidance_scale, pipe.do_classifier_free_guidance, pipe.num_timesteps) == (1, False, 8)

    def to_one(pipe):
        pipe.guidance_scale = 1.0

    by_hand = pipe(generator=seeded(), callback_on_step_end=at(4, to_one), **options)
    assert torch.equal(cut.sequences, by_hand.sequences) and torch.equal(cut.latents, by_hand.latents)
    assert not torch.equal(cut.sequences, pipe(generator=seeded(), **options).sequences)


@pytest.mark.parametrize("kind", ["none", "discrete"])
def test_without_guidance_the_cut_off_changes_nothing(build, kind):
    pipe = build(kind)
    plain = pipe(num_steps=4, batch_size=3, generator=seeded())
    cut = pipe(num_steps=4, batch_size=3, generator=seeded(), callback_on_step_end=SDCFGCutoffCallback(0.5))
    assert torch.equal(plain.sequences, cut.sequences)


def test_a_callback_that_asks_for_what_is_not_there_is_refused(build):
    said = r"`tensor_inputs` of the SDXLCFGCutoffCallback has \['add_text_embeds', 'add_time_ids'\]; it takes some out"
    with pytest.raises(ValueError, match=said):
        build("discrete")(num_steps=2, callback_on_step_end=SDXLCFGCutoffCallback())


def test_there_are_no_embeddings_to_change(build):
    pipe = build("discrete")
    asked = {"callback_on_step_end_tensor_inputs": ["prompt_embeds"], "num_steps": 2, "batch_size": 3}
    seen = []
    pipe(**asked, callback_on_step_end=lambda pipe, i, t, tensors: seen.append(tensors["prompt_embeds"].shape))
    assert seen == [(3, 0)] * 2
    with pytest.raises(ValueError, match="returned 'prompt_embeds'; the loop takes back 'tokens' and 'latents'"):
        pipe(**asked, callback_on_step_end=lambda *given: {"prompt_embeds": torch.ones(3, 2)})


# --- the run as a pipeline's properties ---


def test_the_number_of_steps_is_that_of_the_run(build):
    pipe, seen = build("none"), []
    assert (pipe.num_timesteps, pipe.guidance_scale, pipe.interrupt) == (0, 1.0, False)
    pipe(num_steps=5, callback_on_step_end=lambda pipe, i, t, tensors: seen.append(pipe.num_timesteps))
    assert seen == [5] * 5 and pipe.num_timesteps == 5
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, unmasking="first_hitting")
    pipe([1, 2], num_steps=60, length=7)
    assert pipe.num_timesteps == 5, "one token each"


def test_guidance_that_rises_in_every_step_is_what_the_next_step_uses(build):
    """As diffusers' suite raises it; the scale of a step is seen in the guided logits, by a processor."""
    pipe, seen = build("discrete"), []

    def rise(pipe, index, timestep, tensors):
        pipe._guidance_scale += 1.0

    class Watches:
        def __call__(self, input_ids, scores):
            seen.append(scores.clone())
            return scores

    options = {"num_steps": 1, "latents": torch.zeros(2, 4, dtype=torch.int64), "logits_processor": [Watches()]}
    for scale in (1.0, 2.0, 3.0):  # of the same tokens
        pipe(guidance_scale=scale, generator=seeded(), **options)
    torch.testing.assert_close(seen[2] - seen[1], seen[1] - seen[0], equal_nan=True)
    pipe(num_steps=4, guidance_scale=2.0, callback_on_step_end=rise)
    assert pipe.guidance_scale == 2.0 + pipe.num_timesteps
    calls = watch(pipe.model)
    pipe(num_steps=4, batch_size=2, callback_on_step_end=rise)
    assert [len(call.input_ids) for call in calls] == [2, 4, 4, 4] and pipe.do_classifier_free_guidance


@pytest.mark.parametrize(
    ("kind", "scale", "said"),
    [
        ("discrete", "high", "`guidance_scale` is 'high'; give a number"),
        ("discrete", float("nan"), "`guidance_scale` is nan"),
        ("none", 2.0, r"`guidance_scale` is 2\.0, but the model has no latents to guide by"),
    ],
)
@pytest.mark.parametrize("name", ["guidance_scale", "_guidance_scale"])
def test_a_scale_that_can_not_be_is_refused_in_a_run_too(build, name, kind, scale, said):
    with pytest.raises(ValueError, match=said):
        build(kind)(num_steps=3, callback_on_step_end=at(1, lambda pipe: setattr(pipe, name, scale)))


def test_outside_of_a_run_guidance_belongs_to_the_call(build):
    pipe = build("discrete")
    pipe(num_steps=2)
    with pytest.raises(ValueError, match=r"set to 2\.0 while nothing runs: give it to the call"):
        pipe.guidance_scale = 2.0
    pipe._interrupt = True
    assert pipe(num_steps=2).nfe == 2 and not pipe.interrupt, "there is nothing that it could end"


def test_a_run_within_a_callback_of_another_has_its_own_properties(build):
    pipe, inner = build("discrete"), []

    def nested(pipe, index, timestep, tensors):
        outer = pipe.num_timesteps, pipe.guidance_scale
        note = at(1, lambda pipe: inner.append((pipe.num_timesteps, pipe.guidance_scale)))
        pipe(num_steps=2, guidance_scale=5.0, callback_on_step_end=note)
        assert (pipe.num_timesteps, pipe.guidance_scale) == outer == (4, 2.0)

    pipe(num_steps=4, guidance_scale=2.0, callback_on_step_end=nested)
    assert inner == [(2, 5.0)] * 4


def test_a_run_that_fails_leaves_no_run_behind(build):
    pipe = build("discrete")
    with pytest.raises(ZeroDivisionError):
        pipe(num_steps=4, callback_on_step_end=lambda *given: 1 / 0)
    with pytest.raises(ValueError, match="while nothing runs"):
        pipe.guidance_scale = 2.0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda pipe: pickle.loads(pickle.dumps(pipe))])
def test_a_copy_of_a_pipeline_has_runs_of_its_own(build, copied):
    pipe = build("discrete")
    expected = pipe(num_steps=4, generator=seeded()).sequences
    other = copied(pipe)
    assert (other.num_timesteps, pipe.num_timesteps) == (0, 4)
    assert torch.equal(other(num_steps=4, generator=seeded()).sequences, expected)


# --- what a step has written ---


@pytest.mark.parametrize("unmasking", ["ancestral", {"name": "entropy_bound", "gamma": 1.0}], ids=str)
def test_a_callback_may_ask_what_a_step_has_written(build, scheduler, unmasking):
    pipe = build("discrete", scheduler)
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, unmasking=unmasking)
    keeps = Keeps("tokens", "transfer_index", "sampled_tokens", "sampled_probs")
    plain = pipe(num_steps=6, batch_size=2, generator=seeded())
    asked = pipe(num_steps=6, batch_size=2, generator=seeded(), callback_on_step_end=keeps)
    assert torch.equal(plain.sequences, asked.sequences) and torch.equal(plain.latents, asked.latents)
    before = torch.full((2, 12), MASK)
    for given in keeps.given:
        written = given["tokens"] != before
        assert torch.equal(given["transfer_index"], written) and torch.equal(given["sampled_probs"] > 0, written)
        assert torch.equal(given["sampled_tokens"][written], given["tokens"][written])
        before = given["tokens"]


# --- runs that are ended ---


def stop(pipe):
    pipe._interrupt = True


def test_an_interrupted_run_says_what_it_has_written_and_what_not(build, tokenizer):
    pipe = build("discrete", tokenizer=tokenizer)
    states = []
    whole = pipe(
        num_steps=8,
        batch_size=3,
        generator=seeded(),
        callback_on_step_end=lambda pipe, i, t, tensors: states.append(tensors["tokens"]),
    )
    ended = pipe(num_steps=8, batch_size=3, generator=seeded(), callback_on_step_end=at(2, stop))
    assert pipe.interrupt and ended.nfe == 3 and ended.latents is None, "the codes are not all known"
    assert torch.equal(ended.sequences, states[2])
    assert ended.texts == [
        "".join("[MASK]" if token == MASK else tokenizer.decode(token) for token in row) for row in states[2].tolist()
    ]
    again = pipe(num_steps=8, batch_size=3, generator=seeded())
    assert not pipe.interrupt and again.texts == whole.texts


def test_latents_that_are_clean_are_kept(build):
    pipe = build("continuous", "sequential")
    whole = pipe(num_steps=8, generator=seeded())
    ended = pipe(num_steps=8, generator=seeded(), callback_on_step_end=at(3, stop))
    assert ended.nfe == 4 and (ended.sequences == MASK).all() and torch.equal(ended.latents, whole.latents)
    assert pipe(num_steps=8, generator=seeded(), callback_on_step_end=at(2, stop)).latents is None


def test_after_the_last_step_there_is_nothing_to_interrupt(build, tokenizer):
    pipe = build("discrete", tokenizer=tokenizer)
    whole = pipe(num_steps=4, generator=seeded())
    ended = pipe(num_steps=4, generator=seeded(), callback_on_step_end=at(3, stop))
    assert ended.texts == whole.texts and torch.equal(ended.latents, whole.latents)
