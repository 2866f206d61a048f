"""The pipeline generates in exactly the evaluations it was given, row by row, around what is already written."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from ladd_hf import (
    LaddJointScheduler,
    LaddPipeline,
    LaddPipelineOutput,
    LaddSequentialScheduler,
    RowGenerator,
)

KINDS = ("none", "continuous", "discrete", "vector", "gumbel", "separate")
WITH_LATENTS = KINDS[1:]
GUIDED = (
    *((kind, 1.0) for kind in ("none", "discrete", "continuous", "separate")),
    ("discrete", 2.0),
    ("separate", 2.0),
)
SCHEDULERS = {"joint": LaddJointScheduler, "sequential": LaddSequentialScheduler}
MASK = 10


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def clean_latents(kind, count, seed=0):
    if kind in ("continuous", "separate"):
        return torch.randn(count, 4, 3, generator=seeded(seed))
    return torch.randint(8, (count, 4), generator=seeded(seed))


def tiny_tokenizer(mask_id=MASK, mask_token="[MASK]"):
    """One token per letter: [PAD] 0, a to i 1 to 9, [MASK] 10; with special tokens, a text would end in a [PAD]."""
    words = ["[PAD]", *"abcdefghi"]
    words.insert(mask_id, "[MASK]")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A [PAD]", special_tokens=[("[PAD]", 0)])
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", mask_token=mask_token)


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def build(stirred_model):
    """`build(kind, scheduler="joint", tokenizer=None, **config overrides)`: a quiet pipeline around a tiny model."""

    def build(kind, scheduler="joint", tokenizer=None, **overrides):
        if kind == "separate":  # its latents are denoised before the tokens: there is one schedule for it
            scheduler = "sequential"
        pipe = LaddPipeline(stirred_model(kind, **overrides), SCHEDULERS[scheduler](), tokenizer)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return build


@pytest.fixture(params=sorted(SCHEDULERS))
def scheduler(request):
    return request.param


def watch(model):
    """Notes every evaluation of a model: what it was called with, and how many rows of logits it computed."""
    calls = []

    def note(module, args, kwargs, output):
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
        rows = None if output.logits is None else len(output.logits)
        calls.append(SimpleNamespace(**{"latents": None, **bound.arguments}, logits_rows=rows))

    model.register_forward_hook(note, with_kwargs=True)
    return calls


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
    elif kind in ("continuous", "separate"):
        assert result.latents.shape == (3, 4, 3) and torch.isfinite(result.latents).all()
    else:
        assert result.latents.shape == (3, 4)
        assert result.latents.min() >= 0 and result.latents.max() < (9 if kind == "discrete" else 8)


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
    first, latents, nfe = pipe(generator=seeded(), return_dict=False, **options)
    assert first == result.texts if output_type == "text" else torch.equal(first, result.sequences)
    assert torch.equal(latents, result.latents)
    assert nfe == result.nfe == 3


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
    results, work = [], []
    for skip in (False, True):
        results.append(pipe(generator=seeded(), skip_idle_rows=skip, **options))
        work.append(sum(0 if call.input_ids is None else len(call.input_ids) for call in calls))
        calls.clear()
    assert torch.equal(results[0].sequences, results[1].sequences)
    assert results[0].nfe == results[1].nfe == 16
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


# --- prompts ---


@pytest.mark.parametrize("kind", ["none", "discrete", "continuous"])
@pytest.mark.parametrize("prompt", [[3, 1, 4], torch.tensor([3, 1, 4]), [[3, 1, 4]], (3, 1, 4)], ids=str)
def test_one_prompt_starts_every_row_and_is_never_changed(build, kind, scheduler, prompt):
    pipe = build(kind, scheduler)
    calls = watch(pipe.model)
    result = pipe(prompt, num_steps=4, batch_size=3, generator=seeded())
    assert result.sequences[:, :3].tolist() == [[3, 1, 4]] * 3
    assert all(call.input_ids[:, :3].tolist() == [[3, 1, 4]] * 3 for call in calls)
    assert (result.sequences != MASK).all()


def test_each_row_can_have_a_prompt_of_its_own_length(build):
    sequences = build("discrete")([[1], [2, 2, 2], [*range(10), 9, 9]], num_steps=4).sequences
    assert sequences[0, 0] == 1 and sequences[1, :3].tolist() == [2, 2, 2]
    assert sequences[2].tolist() == [*range(10), 9, 9]


def test_prompts_are_texts_where_there_is_a_tokenizer(build, tokenizer):
    pipe = build("none", tokenizer=tokenizer)
    for text in pipe("bad", num_steps=4, batch_size=3, output_type="text").texts:
        assert text.startswith("bad")
    first, second = pipe(["a", "hide"], num_steps=4, length=7).texts
    assert first.startswith("a") and second.startswith("hide")
    by_text, by_ids = (pipe(prompt, num_steps=4, batch_size=8, generator=seeded()) for prompt in ("bad", [2, 1, 4]))
    assert torch.equal(by_text.sequences, by_ids.sequences)  # nothing is added around a prompt


def test_masks_inside_a_prompt_are_filled_in(build, tokenizer):
    pipe = build("discrete", tokenizer=tokenizer)
    (text,) = pipe("a[MASK]c[MASK][MASK]f", num_steps=4, length=6, generator=seeded()).texts
    by_ids = pipe([1, MASK, 3, MASK, MASK, 6], num_steps=4, length=6, generator=seeded())
    assert by_ids.texts == [text]
    assert by_ids.sequences[0, [0, 2, 5]].tolist() == [1, 3, 6] and (by_ids.sequences != MASK).all()


def test_a_prompt_as_long_as_the_text_leaves_nothing_to_write(build):
    prompt = torch.arange(12) % 9
    assert torch.equal(build("discrete", "sequential")(prompt, num_steps=3).sequences[0], prompt)


@pytest.mark.parametrize(
    ("prompt", "options", "said"),
    [
        ([[1], [2]], {"batch_size": 3}, "`prompt` has 2 rows for a batch of 3"),
        ([1] * 13, {}, "13 tokens"),
        ([1] * 6, {"length": 5}, "6 tokens"),
        ("abc", {}, "no tokenizer"),
        (["abc", "d"], {}, "no tokenizer"),
        ([], {}, "`prompt`"),
        ([1, 11], {}, "prompt"),  # outside of the vocabulary
        ([1, -1], {}, "prompt"),
    ],
    ids=str,
)
def test_prompts_that_do_not_fit_are_refused(build, prompt, options, said):
    with pytest.raises(ValueError, match=said):
        build("none")(prompt, num_steps=2, **options)


def test_a_prompt_that_the_latents_can_not_see_is_refused(build, scheduler):
    pipe = build("separate", scheduler)
    with pytest.raises(ValueError, match="ignore the prompt"):
        pipe([1, 2], num_steps=4)
    result = pipe([1, 2], num_steps=4, latents=clean_latents("separate", 1))
    assert result.sequences[0, :2].tolist() == [1, 2]


# --- guidance ---


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
    guided = unconditional[..., :MASK] + scale * (conditional - unconditional)[..., :MASK]
    sequences = pipe(num_steps=1, latents=given, guidance_scale=scale, temperature=0).sequences
    assert torch.equal(sequences, guided.argmax(-1))


@pytest.mark.parametrize("scale", [0.0, 2.0, 10.0])
@pytest.mark.parametrize("kind", WITH_LATENTS)
def test_guided_runs_are_in_the_vocabulary_and_take_as_many_evaluations(build, kind, scheduler, scale):
    pipe = build(kind, scheduler)
    calls = watch(pipe.model)
    result = pipe(num_steps=4, batch_size=2, guidance_scale=scale, generator=seeded())
    assert len(calls) == result.nfe == 4
    assert result.sequences.min() >= 0 and result.sequences.max() < MASK


@pytest.mark.parametrize("kind", ["continuous", "separate"])
def test_guidance_of_a_sequential_run_does_not_touch_its_latents_and_costs_nothing_there(build, kind):
    pipe = build(kind, "sequential")
    plain = pipe(num_steps=4, batch_size=2, generator=seeded()).latents
    calls = watch(pipe.model)
    guided = pipe(num_steps=4, batch_size=2, guidance_scale=3.0, generator=seeded()).latents
    torch.testing.assert_close(plain, guided)
    assert [len(call.latents) for call in calls] == [2, 2, 4, 4]  # doubled where tokens are written


def test_guidance_without_latents_is_refused(build):
    with pytest.raises(ValueError, match="`guidance_scale` is 2"):
        build("none")(num_steps=2, guidance_scale=2)


# --- options of the draw ---


def test_greedy_runs_do_not_depend_on_the_draw_of_tokens(build):
    pipe, given = build("discrete"), clean_latents("discrete", 1)
    runs = {
        tuple(pipe(num_steps=1, latents=given, temperature=0, generator=seeded(seed)).sequences[0].tolist())
        for seed in range(4)
    }
    nucleus = pipe(num_steps=1, latents=given, top_p=1e-9, generator=seeded()).sequences[0].tolist()
    assert runs == {tuple(nucleus)}
    assert pipe(num_steps=1, latents=given, generator=seeded()).sequences[0].tolist() != nucleus


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_steps": 0}, "`num_steps` is 0"),
        ({"num_inference_steps": 0}, "`num_steps` is 0"),
        ({"num_steps": -3}, "`num_steps` is -3"),
        ({"num_steps": 2.0}, "`num_steps` is 2.0"),
        ({"num_steps": 4, "num_inference_steps": 4}, "give one"),
        ({"temperature": -0.5}, "`temperature`"),
        ({"top_p": 0.0}, "`top_p`"),
        ({"top_p": 1.5}, "`top_p`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"length": 13}, "`length`"),
        ({"length": 0}, "`length`"),
        ({"length": -1}, "`length`"),
        ({"output_type": "pil"}, "`output_type`"),
        ({"output_type": "text"}, "no tokenizer"),
        ({"callback_on_step_end_tensor_inputs": ["tokens", "logits"]}, "logits"),
    ],
    ids=str,
)
def test_options_that_can_not_work_are_refused(build, options, said):
    with pytest.raises(ValueError, match=said):
        build("discrete")(**options)


def test_a_sequential_run_of_one_step_is_refused(build):
    with pytest.raises(ValueError, match="at least 2"):
        build("discrete", "sequential")(num_steps=1)


@pytest.mark.parametrize(
    ("kind", "latents"),
    [
        ("discrete", torch.zeros(2, 4)),
        ("discrete", torch.zeros(2, 4, dtype=torch.int32)),
        ("discrete", torch.zeros(2, 5, dtype=torch.int64)),
        ("discrete", torch.full((2, 4), 9)),  # the mask code
        ("continuous", torch.zeros(2, 4, 3, dtype=torch.int64)),
        ("continuous", torch.zeros(2, 4, 2)),
        ("continuous", torch.zeros(2, 12)),
        ("continuous", torch.zeros(3, 4, 3)),
        ("none", torch.zeros(2, 4, 3)),
    ],
    ids=str,
)
def test_latents_that_are_not_the_models_are_refused(build, kind, latents):
    with pytest.raises(ValueError, match="latents"):
        build(kind)(num_steps=2, batch_size=2, latents=latents)


def test_latents_of_a_run_can_be_written_from_again(build, scheduler):
    for kind in ("discrete", "continuous"):
        pipe = build(kind, scheduler)
        latents = pipe(num_steps=4, batch_size=3, generator=seeded()).latents
        again = pipe(num_steps=4, latents=latents, generator=seeded())
        assert again.sequences.shape == (3, 12) and torch.equal(again.latents, latents)


def test_latents_of_encoded_texts_can_be_written_from(build):
    texts = torch.randint(MASK, (3, 12), generator=seeded())
    for kind in WITH_LATENTS:
        pipe = build(kind)
        assert pipe(num_steps=2, latents=pipe.model.encode_latents(texts)).sequences.shape == (3, 12)


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


# --- tokenizers ---


def test_a_tokenizer_without_a_mask_token_is_refused(build):
    with pytest.raises(ValueError, match="no mask token"):
        build("none", tokenizer=tiny_tokenizer(mask_token=None))


def test_a_tokenizer_with_another_mask_token_than_the_models_is_refused(build):
    with pytest.raises(ValueError, match="id 3, the model's `mask_token_id` is 10"):
        build("none", tokenizer=tiny_tokenizer(mask_id=3))


# --- saving and loading ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("with_tokenizer", [False, True])
def test_a_saved_pipeline_loads_and_gives_the_same_samples(build, kind, scheduler, with_tokenizer, tmp_path):
    pipe = build(kind, scheduler, tiny_tokenizer() if with_tokenizer else None)
    pipe.save_pretrained(tmp_path)
    loaded = LaddPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert type(loaded.scheduler) is type(pipe.scheduler)
    assert (loaded.tokenizer is not None) == with_tokenizer
    before, after = (each(num_steps=3, batch_size=2, generator=seeded()) for each in (pipe, loaded))
    assert torch.equal(before.sequences, after.sequences)
    assert before.texts == after.texts and (after.texts is not None) == with_tokenizer


def test_options_of_the_scheduler_are_saved_with_the_pipeline(stirred_model, tmp_path):
    own = LaddSequentialScheduler(latent_share=0.25, spacing="cosine", latent_solver="ddpm")
    LaddPipeline(stirred_model("continuous", latent_noise_schedule="cosine"), own).save_pretrained(tmp_path)
    config = LaddPipeline.from_pretrained(tmp_path).scheduler.config
    assert (config.latent_share, config.spacing, config.latent_solver) == (0.25, "cosine", "ddpm")
    assert config.latent_noise_schedule == "cosine"


def test_schedulers_are_interchangeable(build):
    pipe = build("discrete", "joint")
    calls = watch(pipe.model)
    pipe.scheduler = LaddSequentialScheduler.from_config(pipe.scheduler.config)
    assert pipe(num_steps=4, generator=seeded()).nfe == 4
    assert [call.logits_rows for call in calls][:2] == [0, 0]
    pipe.scheduler = LaddJointScheduler()  # knows nothing of the model yet
    assert (pipe(num_steps=4, batch_size=4).sequences != MASK).all()


def test_without_a_scheduler_tokens_and_latents_are_written_together(stirred_model):
    assert type(LaddPipeline(stirred_model("discrete")).scheduler) is LaddJointScheduler


# --- the model is left as it is ---


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", WITH_LATENTS)
def test_a_run_changes_neither_the_models_mode_nor_its_weights(build, kind, scheduler, training):
    pipe = build(kind, scheduler)
    pipe.model.train(training)
    before = {name: tensor.clone() for name, tensor in pipe.model.state_dict().items()}
    result = pipe(num_steps=4, batch_size=2, generator=seeded())
    assert all(module.training == training for module in pipe.model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in pipe.model.state_dict().items())
    pipe.model.train(not training)
    assert torch.equal(pipe(num_steps=4, batch_size=2, generator=seeded()).sequences, result.sequences)


def test_a_run_keeps_no_gradients(build):
    result = build("continuous")(num_steps=2)
    assert not result.latents.requires_grad


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
@pytest.mark.parametrize("kind", WITH_LATENTS)
def test_a_bfloat16_model_writes_without_nan(build, kind, scheduler, guidance_scale):
    pipe = build(kind, scheduler)
    pipe.model.to(torch.bfloat16)
    result = pipe(num_steps=4, batch_size=3, generator=seeded(), guidance_scale=guidance_scale)
    assert result.sequences.min() >= 0 and result.sequences.max() < MASK
    assert torch.isfinite(result.latents.float()).all()
    again = pipe(num_steps=2, latents=result.latents, generator=seeded())
    assert again.sequences.max() < MASK


def test_the_bar_of_progress_is_shown_or_not_as_set(build, capsys):
    pipe = build("none")
    for disable in (True, False, True):
        pipe.set_progress_bar_config(disable=disable)
        pipe(num_steps=5)
        shown = capsys.readouterr().err
        assert ("5/5" in shown) != disable and bool(shown) != disable


# --- the contract ---


def test_anything_that_keeps_the_denoisers_contract_can_be_sampled_from(tiny_config):
    class Counting:
        """Writes at each place the number of the place, and codes that say nothing."""

        config = tiny_config("discrete")

        def __call__(self, input_ids, latents=None, token_timesteps=None, latent_timesteps=None, logits_mask=None):
            assert len(token_timesteps) == len(latent_timesteps) == 1
            places = torch.arange(input_ids.shape[1]).expand(input_ids.shape)[logits_mask]
            logits = torch.full((len(places), 11), -torch.inf).scatter(1, places[:, None] % 10, 0.0)
            return SimpleNamespace(logits=logits, latent_prediction=torch.zeros(*latents.shape, 9))

    pipe = LaddPipeline(Counting(), LaddSequentialScheduler())
    pipe.set_progress_bar_config(disable=True)
    result = pipe(num_steps=5, batch_size=3)
    assert result.sequences.tolist() == [[i % 10 for i in range(12)]] * 3


def test_a_run_is_the_loop_over_the_schedulers_steps(build, scheduler):
    pipe = build("discrete", scheduler)
    result = pipe(num_steps=6, batch_size=3, generator=seeded(), temperature=0.8, top_p=0.9)
    steps = pipe.scheduler
    steps.set_timesteps(6)
    random = RowGenerator.from_generator(seeded(), 3)
    tokens, latents = torch.full((3, 12), MASK), steps.prior_latents(4, random, 3)
    for step in steps.timesteps:
        unmask = steps.draw_unmask(step, tokens, random)
        with torch.no_grad():
            output = pipe.model(tokens, latents, *steps.times(step), logits_mask=unmask)
        done = steps.step(output, step, tokens, latents, unmask=unmask, generator=random, temperature=0.8, top_p=0.9)
        tokens, latents = done.prev_sample, done.prev_latents
    assert torch.equal(result.sequences, tokens) and torch.equal(result.latents, latents)
