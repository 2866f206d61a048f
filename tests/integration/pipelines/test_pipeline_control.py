"""Control of generated texts: prompts, lengths, endings, and single tokens by their logits."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from helpers.sampling import KINDS, MASK, clean_latents, seeded, watch
from transformers import LogitsProcessor, LogitsProcessorList, SuppressTokensLogitsProcessor, TopKLogitsWarper

from ladd_hf import LaddJointScheduler

PAD = 0


# --- prompts ---


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_a_tokenizer_gave_for_a_batch_is_a_prompt_padding_left_out(build, tokenizer, side):
    tokenizer.padding_side = side
    pipe = build("discrete", tokenizer=tokenizer)
    batch = tokenizer(["bad", "a", "head"], padding=True, add_special_tokens=False)
    for prompt in (batch, batch.convert_to_tensors("pt", prepend_batch_axis=False)):
        by_batch = pipe(prompt, num_steps=4, generator=seeded())
        by_text = pipe(["bad", "a", "head"], num_steps=4, generator=seeded())
        assert torch.equal(by_batch.sequences, by_text.sequences)


def test_the_length_of_its_prompt_is_that_of_a_text_with_gaps_to_fill(build, tokenizer):
    pipe = build("discrete", tokenizer=tokenizer)
    result = pipe(["a[MASK]c", "[MASK][MASK]ed"], num_steps=4, length="prompt", generator=seeded())
    assert [len(text) for text in result.texts] == result.lengths.tolist() == [3, 4]
    assert result.texts[0][0] == "a" and result.texts[0][2] == "c" and result.texts[1].endswith("ed")


@pytest.mark.parametrize("form", ["flat", "ragged", "without a mask", "arrays"])
def test_a_tokenizers_answer_is_a_prompt_in_any_of_its_forms(build, tokenizer, form):
    pipe = build("none", tokenizer=tokenizer)
    texts = ["bad"] if form == "flat" else ["bad", "a"]
    answer = tokenizer("bad" if form == "flat" else texts, add_special_tokens=False)
    if form == "without a mask":
        answer = {"input_ids": answer["input_ids"]}
    if form == "arrays":
        answer = {"input_ids": [np.array(ids) for ids in answer["input_ids"]]}
    by_answer, by_text = (pipe(prompt, num_steps=4, generator=seeded()).sequences for prompt in (answer, texts))
    assert torch.equal(by_answer, by_text) and len(by_text) == len(texts)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (3, "lists of token ids"),
        ([[1.5, 2.0]], "no token id"),
        ([[True]], "no token id"),
        (torch.tensor([1.0]), "lists of token ids"),
        (torch.tensor(1), "lists of token ids"),
        (torch.zeros(1, 1, 1, dtype=torch.int64), "no token id"),
        (["a", [3]], "both texts and ids"),
    ],
    ids=str,
)
def test_what_is_no_prompt_is_refused(build, tokenizer, prompt, said):
    with pytest.raises(ValueError, match=said):
        build("none", tokenizer=tokenizer)(prompt, num_steps=2)


# --- lengths ---


@pytest.mark.parametrize("unmasking", ["ancestral", "first_hitting", "entropy"])
@pytest.mark.parametrize("num_steps", [5, 12])
@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_their_own_lengths_are_padded_and_the_same_as_alone(build, kind, scheduler, num_steps, unmasking):
    pipe, lengths = build(kind, scheduler), [3, 12, 7]
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, unmasking=unmasking)
    calls = watch(pipe.model)
    together = pipe(num_steps=num_steps, length=lengths, generator=[seeded(i) for i in range(3)])
    assert together.lengths.tolist() == lengths and together.sequences.shape == (3, 12)
    assert all(call.attention_mask.sum(1).tolist() == lengths for call in calls if call.input_ids is not None)
    for row, length in enumerate(lengths):
        alone = pipe(num_steps=num_steps, length=length, generator=[seeded(row)])
        assert torch.equal(together.sequences[row, :length], alone.sequences[0])
        if kind != "none":
            torch.testing.assert_close(together.latents[row], alone.latents[0])
        assert (together.sequences[row, length:] == PAD).all()


@pytest.mark.parametrize(("kind", "guidance_scale"), [("none", 1.0), ("discrete", 1.0), ("discrete", 2.0)])
def test_leaving_out_idle_rows_changes_no_sample_of_padded_rows(build, kind, guidance_scale):
    pipe = build(kind, "sequential")
    options = {"num_steps": 16, "length": [2, 5, 3], "guidance_scale": guidance_scale}
    every, busy = (pipe(generator=seeded(), skip_idle_rows=skip, **options).sequences for skip in (False, True))
    assert torch.equal(every, busy)


@pytest.mark.parametrize("unmasking", ["top_probability", "margin", "entropy"])
@pytest.mark.parametrize(("kind", "guidance_scale"), [("none", 1.0), ("discrete", 2.0), ("continuous", 1.0)])
def test_orders_by_confidence_leave_out_rows_in_which_nothing_is_revealed(build, unmasking, kind, guidance_scale):
    """One token is left to write in the first row, two in the second, four in the third."""
    pipe = build(kind, "sequential")
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, unmasking=unmasking, latent_share=0.02)
    calls = watch(pipe.model)
    options = {"prompt": [[1] * 5, [2] * 6, [3] * 4], "length": [6, 8, 8], "guidance_scale": guidance_scale}
    every, busy = (pipe(num_steps=50, generator=seeded(), skip_idle_rows=skip, **options) for skip in (False, True))
    assert torch.equal(every.sequences, busy.sequences) and every.nfe == 50
    calls = calls[50:]
    of_latents = 0 if kind == "none" else 1
    assert busy.nfe == len(calls) == of_latents + 4
    rows = [len(call.input_ids) // (2 if guidance_scale != 1 else 1) for call in calls[of_latents:]]
    assert sum(rows) == 1 + 2 + 4, "a row is evaluated as often as it has tokens to write"


@pytest.mark.parametrize("unmasking", ["top_probability", "margin", "entropy"])
def test_a_prompt_does_not_count_among_the_tokens_to_write(tiny_config, unmasking):
    scheduler = LaddJointScheduler(unmasking=unmasking).for_model(tiny_config("none"))
    scheduler.set_timesteps(50)
    tokens = torch.tensor([[1, 2, MASK], [1, MASK, MASK]])
    editable = torch.tensor([[False, True, True]] * 2)
    unmask = scheduler.plan_step(1, tokens, editable_mask=editable).unmask
    assert not unmask[0].any(), "of its two tokens one was due at once, and the other when half of the time has passed"
    assert torch.equal(unmask[1], tokens[1] == MASK)
    every = scheduler.plan_step(1, tokens).unmask
    assert not every[0].any(), "of three tokens two have been due"


@pytest.mark.parametrize(
    ("length", "said"),
    [
        ([3, 4], "for a batch of 3"),
        ("prompt", "for a batch of 3"),
        ("all", "for a batch of 3"),
        ([3, 13, 4], "1 to 12 tokens"),
        ([3, 0, 4], "1 to 12 tokens"),
        ([3, 4.7, 4], "1 to 12 tokens"),
        (4.0, "for a batch of 3"),
    ],
    ids=str,
)
def test_lengths_that_do_not_fit_are_refused(build, length, said):
    with pytest.raises(ValueError, match=said):
        build("none")(num_steps=2, batch_size=3, length=length)


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_lengths_of_whichever_library_are_as_many_as_the_rows(build, kind):
    for length in (kind([3, 4]), kind([3])):
        assert build("none")(num_steps=2, length=length).lengths.tolist() == list(length)


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_a_length_of_no_dimension_is_one_for_all(build, kind):
    assert build("none")(num_steps=2, batch_size=2, length=kind(4)).sequences.shape == (2, 4)
    assert build("none")(num_steps=2, length=kind(4)).sequences.shape == (1, 4)


def test_rows_of_different_lengths_need_a_token_to_fill_up_with(build):
    with pytest.raises(ValueError, match="no `pad_token_id`"):
        build("none", pad_token_id=None)(num_steps=2, length=[3, 4])
    assert build("none", pad_token_id=None)(num_steps=2, length=[3, 3]).sequences.shape == (2, 3)


# --- end of sequence ---


@pytest.mark.parametrize("eos", [5, [5, 7]], ids=str)
def test_a_text_ends_with_its_first_written_end_of_sequence(build, tokenizer, eos):
    pipe = build("none", tokenizer=tokenizer, eos_token_id=eos)
    whole = pipe([5, 1], num_steps=6, batch_size=20, generator=seeded())
    ended = pipe([5, 1], num_steps=6, batch_size=20, generator=seeded(), stop_at_eos=True)
    for before, after, length, text in zip(whole.sequences, ended.sequences, ended.lengths, ended.texts, strict=True):
        ends = [p for p in range(2, 12) if before[p] in (eos if isinstance(eos, list) else [eos])]
        expected = ends[0] + 1 if ends else 12
        assert length == expected
        assert torch.equal(after[:expected], before[:expected]) and (after[expected:] == PAD).all()
        assert text == tokenizer.decode(before[:expected], skip_special_tokens=True)
    assert len(set(ended.lengths.tolist())) > 3
    assert whole.lengths.tolist() == [12] * 20


def test_an_end_of_sequence_in_a_gap_ends_nothing(build):
    pipe = build("none", eos_token_id=5)
    result = pipe([[MASK, MASK, MASK, 7, MASK, MASK]] * 40, num_steps=4, length="prompt", stop_at_eos=True)
    assert (result.sequences[:, 3] == 7).all()
    assert (result.sequences[:, :3] == 5).any() and result.lengths.min() == 5


@pytest.mark.parametrize("bos", [5, 7, None], ids=str)
def test_a_token_that_begins_texts_as_well_as_ending_them_ends_nothing_where_it_is_the_first(build, bos):
    pipe = build("none", eos_token_id=[5, 8], bos_token_id=bos)
    whole = pipe(num_steps=6, batch_size=60, generator=seeded()).sequences
    lengths = pipe(num_steps=6, batch_size=60, generator=seeded(), stop_at_eos=True).lengths
    ends = torch.isin(whole, torch.tensor([5, 8]))
    ends[:, 0] &= whole[:, 0] != bos if bos is not None else True
    expected = [row.index(True) + 1 if True in row else 12 for row in ends.tolist()]
    assert lengths.tolist() == expected
    begun = (whole[:, 0] == 5).nonzero().flatten().tolist()
    assert begun and all((lengths[row] > 1) == (bos == 5) for row in begun)


def test_without_padding_the_end_of_sequence_fills_what_follows_it(build):
    pipe = build("none", eos_token_id=5, pad_token_id=None)
    result = pipe(num_steps=6, batch_size=20, generator=seeded(), stop_at_eos=True)
    assert all((row[length:] == 5).all() for row, length in zip(result.sequences, result.lengths, strict=True))


def test_a_model_without_an_end_of_sequence_says_so(build):
    with pytest.raises(ValueError, match="no `eos_token_id`"):
        build("none")(num_steps=2, stop_at_eos=True)


# --- logits ---


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_suppressed_tokens_are_never_written(build, scheduler, guidance_scale):
    pipe = build("discrete", scheduler)
    free = pipe(num_steps=4, batch_size=20, generator=seeded(), guidance_scale=guidance_scale).sequences
    assert set(range(1, 5)) <= set(free.flatten().tolist())
    result = pipe(
        num_steps=4, batch_size=20, generator=seeded(), guidance_scale=guidance_scale, suppress_tokens=[0, 1, 2, 3, 4]
    )
    assert result.sequences.min() >= 5 and result.sequences.max() < MASK
    by_list = pipe(
        num_steps=4,
        batch_size=20,
        generator=seeded(),
        guidance_scale=guidance_scale,
        logits_processor=LogitsProcessorList([SuppressTokensLogitsProcessor([0, 1, 2, 3, 4])]),
    )
    assert torch.equal(by_list.sequences, result.sequences)


@pytest.mark.parametrize("unmasking", ["ancestral", "entropy", "first_hitting"])
def test_a_processor_sees_each_row_as_it_is_and_its_scores(build, unmasking):
    pipe, seen = build("none"), []
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, unmasking=unmasking)

    class Watches(LogitsProcessor):
        def __call__(self, input_ids, scores, positions):
            assert len(input_ids) == len(scores) == len(positions)
            assert (input_ids.gather(1, positions[:, None]) == MASK).all()
            assert (input_ids[:, :2] == torch.tensor([3, 4])).all()
            seen.append(len(scores))
            return scores

    watched = pipe([3, 4], num_steps=5, batch_size=3, generator=seeded(), logits_processor=[Watches()])
    plain = pipe([3, 4], num_steps=5, batch_size=3, generator=seeded())
    assert torch.equal(watched.sequences, plain.sequences)
    assert sum(seen) == 30 if unmasking != "entropy" else sum(seen) > 30


def test_the_warpers_of_transformers_work(build):
    pipe = build("none")
    greedy = pipe(num_steps=1, temperature=0, generator=seeded()).sequences
    top_one = pipe(num_steps=1, logits_processor=[TopKLogitsWarper(1)], generator=seeded()).sequences
    assert torch.equal(top_one, greedy)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"suppress_tokens": [11]}, "ids from 0 to 10"),
        ({"suppress_tokens": [-1]}, "ids from 0 to 10"),
        ({"suppress_tokens": range(10)}, "leave no token"),
        ({"logits_processor": [SuppressTokensLogitsProcessor(range(11))]}, "leave no token"),
        ({"suppress_tokens": ["a"]}, "ids from 0 to 10"),
        ({"suppress_tokens": [2.5]}, "ids from 0 to 10"),
        ({"logits_processor": lambda input_ids, scores: None}, "returned no scores"),
        ({"generator": 3}, "`generator` is 3"),
        ({"batch_size": 2.5}, "`batch_size` is 2"),
        ({"latents": [[1, 2, 3, 4]]}, "give a tensor"),
        ({"guidance_scale": float("nan")}, "`guidance_scale`"),
        ({"temperature": float("inf")}, "`temperature`"),
        ({"callback_on_step_end": lambda *given: {"token": 1}}, "callback returned"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_control_that_can_not_work_is_refused(build, options, said):
    with pytest.raises(ValueError, match=said):
        build("none")(num_steps=2, **options)


# --- other ways to unmask ---


@pytest.mark.parametrize("kind", ["none", "discrete", "continuous"])
def test_first_hitting_stops_when_everything_is_written(build, kind, scheduler):
    pipe = build(kind, scheduler)
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, unmasking="first_hitting")
    calls = watch(pipe.model)
    result = pipe([1, 2], num_steps=60, length=7, batch_size=2, generator=seeded())
    if kind != "none" and scheduler == "joint":  # the latents go on
        assert result.nfe == len(calls) == 60 and sum(call.logits_rows for call in calls) == 10
        return
    latent_steps = 30 if kind != "none" else 0
    assert result.nfe == len(calls) == latent_steps + 5
    assert all(call.logits_rows == 2 for call in calls[latent_steps:]), "one token in each of two rows"
    assert (result.sequences != MASK).all()
    calls.clear()
    assert pipe([1, 2], num_steps=3, length=7, generator=seeded()).nfe == 3


@pytest.mark.parametrize("unmasking", ["first_hitting", "top_probability", "margin", "entropy"])
@pytest.mark.parametrize("kind", ["none", "discrete", "continuous", "separate"])
def test_other_orders_write_everything_row_by_row_alike(build, kind, scheduler, unmasking):
    pipe = build(kind, scheduler)
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, unmasking=unmasking)
    together = pipe(num_steps=4, batch_size=3, generator=[seeded(i) for i in range(3)])
    assert together.sequences.max() < MASK and together.nfe == 4
    alone = pipe(num_steps=4, generator=seeded(2))
    assert torch.equal(alone.sequences[0], together.sequences[2])
    if kind == "separate":  # without latents it does not see a prompt
        return
    some = pipe([[1, 2, 3], [4]], num_steps=4, length=[5, 9], generator=seeded())
    assert some.sequences[0, :3].tolist() == [1, 2, 3] and some.sequences[1, 0] == 4
    assert (some.sequences != MASK).all()


def test_a_model_that_is_told_the_time_refuses_an_order_without_times(build):
    pipe = build("none", token_time_conditioning=True)
    before = pipe.scheduler
    with pytest.raises(ValueError, match="is conditioned on t_x"):
        pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, unmasking="first_hitting")
    assert pipe.scheduler is before, "the pipeline is what it was"


def test_remasking_rewrites_tokens_and_never_a_prompt(build, scheduler):
    pipe = build("discrete", scheduler)
    pipe.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config, remasking={"name": "cap", "rate": 0.5})
    states = []
    result = pipe(
        [[1, 2, 3], [4]],
        num_steps=20,
        length=[8, 12],
        generator=seeded(),
        callback_on_step_end=lambda pipe, step, t, tensors: states.append(tensors["tokens"]) or {},
    )
    again = sum(int(((a != MASK) & (b == MASK)).sum()) for a, b in itertools.pairwise(states))
    assert again > 5
    assert all(state[0, :3].tolist() == [1, 2, 3] and state[1, 0] == 4 for state in states)
    assert all((state[0, 8:] == PAD).all() for state in states)
    assert (result.sequences != MASK).all() and len(states) == 20


def test_latents_are_given_or_noised_but_not_noised_alone(build):
    with pytest.raises(ValueError, match="with `latents` to noise"):
        build("discrete")(num_steps=2, strength=0.5)
    with pytest.raises(ValueError, match="`strength` is 1"):
        build("discrete")(num_steps=2, strength=1.5, latents=clean_latents("discrete", 1))
