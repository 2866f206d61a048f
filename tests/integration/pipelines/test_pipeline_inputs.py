"""Prompts, latents and options of a run do what they say, or are refused in one sentence."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from helpers.sampling import MASK, WITH_LATENTS, clean_latents, seeded, tiny_tokenizer, watch

from ladd_hf import LaddPipeline
from ladd_hf.pipelines.parts import _OF_THE_CONFIG

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
    sequences = build("discrete")([[1], [2, 2, 2], [*range(1, 10), 9, 9, 9]], num_steps=4).sequences
    assert sequences[0, 0] == 1 and sequences[1, :3].tolist() == [2, 2, 2]
    assert sequences[2].tolist() == [*range(1, 10), 9, 9, 9]


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
    prompt = 1 + torch.arange(12) % 9
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


# --- tokenizers ---


def test_a_tokenizer_without_a_mask_token_is_refused(build):
    with pytest.raises(ValueError, match="no mask token"):
        build("none", tokenizer=tiny_tokenizer(mask_token=None))


def test_a_tokenizer_with_another_mask_token_than_the_models_is_refused(build):
    with pytest.raises(ValueError, match="id 3, the model's `mask_token_id` is 10"):
        build("none", tokenizer=tiny_tokenizer(mask_id=3))


# --- a denoiser that has no more than is asked of it ---


class Denoiser:
    """A model's call, and of its configuration what every pipeline reads."""

    def __init__(self, model):
        self.model, self.device = model, model.device
        self.config = SimpleNamespace(**{name: getattr(model.config, name) for name in _OF_THE_CONFIG})

    def __call__(self, *args, **options):
        return self.model(*args, **options)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda pipe: pipe(length=[3, 5], num_steps=2), "no `pad_token_id` to fill"),
        (lambda pipe: pipe(stop_at_eos=True, num_steps=2), "no `eos_token_id`"),
        (lambda pipe: pipe.encode([1, 2, 3, 4, 5, 6]), "without `encode_latents`"),
    ],
    ids=["lengths", "ends", "latents"],
)
def test_what_a_plain_denoiser_can_not_do_is_said(ask, said, build):
    pipe = LaddPipeline(Denoiser(build("none").model))
    assert pipe(num_steps=2).sequences.shape == (1, 12)
    with pytest.raises(ValueError, match=said):
        ask(pipe)


class PlainModule(torch.nn.Module):
    """A module that tells neither its device nor its dtype."""

    def __init__(self, model):
        super().__init__()
        self.inner, self.config = model, model.config

    def forward(self, *args, **options):
        return self.inner(*args, **options)


def test_a_plain_module_is_where_its_parameters_are(build):
    model = build("none").model.double()
    pipe = LaddPipeline(PlainModule(model))
    assert (pipe.device, pipe.dtype) == (torch.device("cpu"), torch.float64)
    assert pipe(num_steps=2).sequences.shape == (1, 12)
    assert pipe.to("cpu", torch.float32) is pipe and pipe.dtype == model.dtype == torch.float32
    assert LaddPipeline(PlainModule(model.to("meta"))).device == torch.device("meta")


@pytest.mark.parametrize("told", [None, "meta", torch.device("meta")])
def test_anything_else_is_where_it_says_or_on_the_cpu(told, build):
    model = Denoiser(build("none").model)
    model.device = told
    assert LaddPipeline(model).device == torch.device(told or "cpu")
    del model.device
    pipe = LaddPipeline(model)
    assert (pipe.device, pipe.dtype, pipe.to("cpu")) == (torch.device("cpu"), torch.float32, pipe)
    assert pipe(num_steps=2).sequences.shape == (1, 12)


def frozen(config, **settings):
    """A configuration that nobody can write to, of what every pipeline reads and these settings."""
    values = {name: getattr(config, name) for name in _OF_THE_CONFIG} | settings
    return dataclasses.make_dataclass("Frozen", values, frozen=True)(**values)


@pytest.mark.parametrize(
    ("settings", "unk", "message"),
    [
        ({"pad_token_id": 0}, None, None),
        ({"pad_token_id": 0, "vocab_size": 16, "tokenizer_size": 11}, None, None),
        ({"pad_token_id": 0, "unk_token_id": 0}, "[PAD]", None),
        ({"pad_token_id": 0}, "c", None),
        ({}, None, "make it with `pad_token_id=0`, `eos_token_id=9`"),
        ({"pad_token_id": 0, "vocab_size": 16}, None, "make it with `eos_token_id=9`, `tokenizer_size=11`"),
        ({"pad_token_id": None, "vocab_size": 16}, None, "make it with `pad_token_id=0`, .*, `tokenizer_size=11`"),
        ({"pad_token_id": 0}, "[PAD]", "make it with `eos_token_id=9`, `unk_token_id=0`"),
    ],
    ids=str,
)
def test_a_frozen_configuration_says_by_itself_what_is_written(settings, unk, message, build):
    model, tokenizer = Denoiser(build("none", vocab_size=settings.get("vocab_size", 11)).model), tiny_tokenizer()
    model.config, tokenizer.unk_token = frozen(model.config, **settings), unk
    tokenizer.eos_token = "i"  # which nothing needs that is asked for here
    if message is None:
        assert LaddPipeline(model, tokenizer=tokenizer)(num_steps=2).sequences.shape == (1, 12)
        return
    said = f"`config` is a Frozen that cannot be written to, .*: {message}"
    with pytest.raises(ValueError, match=said):
        LaddPipeline(model, tokenizer=tokenizer)
    pipe = build("none", tokenizer=tokenizer)
    before = pipe.model
    with pytest.raises(ValueError, match=said):
        pipe.model = model
    assert pipe.model is before


def test_a_plain_denoisers_texts_end_where_its_configuration_says(build):
    model = Denoiser(build("none").model)
    model.config.eos_token_id = 3
    found = LaddPipeline(model)(num_steps=4, batch_size=16, stop_at_eos=True, generator=seeded())
    assert (found.lengths < 12).any(), "and nothing but the end fills them up"


def test_texts_stop_at_what_ended_those_of_the_training_where_no_token_has_the_name(build):
    pipe = build("none", text_frame={"packing": "pad", "end": [3]})
    found = pipe(num_steps=4, batch_size=16, length=12, stop_at_eos=True, generator=seeded())
    ended = [
        row[end - 1] for row, end in zip(found.sequences.tolist(), found.lengths.tolist(), strict=True) if end < 12
    ]
    assert ended and set(ended) == {3}
