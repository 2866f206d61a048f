"""The vocabulary is the tokenizer's: nothing else is written, has a probability, or may stand in a scored text."""

from __future__ import annotations

from types import SimpleNamespace

import datasets
import pytest
import torch
from helpers.model_calls import EVERYTHING, KINDS, LATENT_KINDS, gradients, loss_of
from helpers.sampling import SCHEDULERS, seeded, tiny_tokenizer
from helpers.training import texts
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddModel, LaddPipeline, LaddTrainer, LaddTrainingArguments
from ladd_hf.data import LaddCollator, precompute_latents, with_mask_token
from ladd_hf.models.vocabulary import WRITTEN_ROLES, Vocabulary, tokenizer_size

PAD, MASK = 0, 10
SIZES = {"vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
pytestmark = pytest.mark.usefixtures("torch_seed")


def some_texts(rows=4):
    return torch.stack([one["input_ids"] for one in texts(rows)])


def padded(model, multiple=64):
    """The model with a vocabulary of a convenient size."""
    model.resize_token_embeddings(pad_to_multiple_of=multiple)
    with torch.no_grad():  # what has no token may be as likely as it wants
        model.token_head.proj.bias[11:] += 5
    return model


def written(model, scheduler="sequential", tokenizer=None, **options):
    pipe = LaddPipeline(model, SCHEDULERS[scheduler](), tokenizer)
    pipe.set_progress_bar_config(disable=True)
    return pipe(num_steps=4, batch_size=16, generator=seeded(), output_type="seq", **options).sequences


# --- a vocabulary that is filled up ---


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_the_same_before_and_after_a_vocabulary_is_filled_up(kind, stirred_model):
    model, tokens = stirred_model(kind), some_texts()
    before = model.nelbo(tokens, generator=seeded()).total_nats
    after = padded(model).nelbo(tokens, generator=seeded()).total_nats
    assert model.config.vocab_size == 64 and model.config.tokenizer_size == 11
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("kind", LATENT_KINDS)
def test_so_are_the_loss_with_all_of_its_terms_and_its_gradients(kind, stirred_model):
    model, tokens = stirred_model(kind), some_texts()
    before = loss_of(model, tokens, objective=EVERYTHING)
    parts, wanted = before.loss_parts, gradients(model, before.loss)
    del before  # whose graph would keep the old sizes
    after = loss_of(padded(model), tokens, objective=EVERYTHING)
    found = gradients(model, after.loss)
    assert after.loss_parts["conditional_independence_loss"] > 0
    for name, part in parts.items():
        torch.testing.assert_close(after.loss_parts[name], part, rtol=1e-5, atol=1e-6)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name][: len(gradient)], gradient, rtol=1e-4, atol=1e-6)
        assert not found[name][len(gradient) :].any(), "what has no token learns nothing"


@pytest.mark.parametrize("options", [{"temperature": 0}, {}, {"temperature": 100.0}, {"top_p": 0.5}])
@pytest.mark.parametrize("kind", ["none", "continuous", "discrete"])
def test_ids_without_a_token_and_padding_are_never_written(kind, options, stirred_model):
    model = padded(stirred_model(kind))
    for scheduler in SCHEDULERS:
        tokens = written(model, scheduler, **options)
        assert tokens.min() > PAD and tokens.max() < MASK
    if kind != "none":
        tokens = written(model, guidance_scale=2.0, **options)
        assert tokens.min() > PAD and tokens.max() < MASK


def test_nor_are_they_where_the_projection_is_another_module(stirred_model):
    model = padded(stirred_model("none"))
    model.token_head.proj.__class__ = type("Adapted", (type(model.token_head.proj),), {})
    logits = model(some_texts()).logits
    assert logits[..., [PAD, *range(MASK, 64)]].isneginf().all() and logits[..., 1:MASK].isfinite().all()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_nor_are_they_where_a_denoiser_of_anothers_wants_them(scheduler, tiny_config):
    class Wanting:
        config = tiny_config("none", vocab_size=16)

        def __call__(self, input_ids, latents=None, logits_mask=None, **times):
            logits = torch.zeros(*input_ids.shape, 16)
            logits[..., [PAD, *range(MASK, 16)]] = 50.0
            return SimpleNamespace(logits=logits[logits_mask], latent_prediction=None)

    tokens = written(Wanting(), scheduler, tokenizer=tiny_tokenizer())
    assert tokens.min() > PAD and tokens.max() < MASK


def test_what_has_no_token_is_known_to_a_model_that_is_saved_and_loaded(stirred_model, tmp_path):
    model = padded(stirred_model("discrete"))
    LaddPipeline(model).save_pretrained(tmp_path)
    pipe = LaddPipeline.from_pretrained(tmp_path)
    assert pipe.model.config.tokenizer_size == 11 and pipe.scheduler.config.tokenizer_size == 11
    assert torch.equal(written(pipe.model), written(model))


def test_tokens_that_are_asked_for_are_tokens_and_what_fills_up_is_none(tiny_model):
    model = tiny_model("none")
    for sizes, expected in (
        ({"pad_to_multiple_of": 8}, (16, 11)),
        ({"new_num_tokens": 13, "pad_to_multiple_of": 8}, (16, 13)),
        ({"new_num_tokens": 14}, (14, None)),
        ({"new_num_tokens": 16, "pad_to_multiple_of": 8}, (16, None)),
    ):
        model.resize_token_embeddings(**sizes)
        assert (model.config.vocab_size, model.config.tokenizer_size) == expected


@pytest.mark.parametrize(
    ("ids", "size", "message"),
    [
        ({}, 10, r"leaves out the mask token \(id 10\): give at least 11"),
        ({"mask_token_id": 3, "pad_token_id": 7}, 7, r"leaves out the pad token \(id 7\): give at least 8"),
        ({"mask_token_id": 3, "eos_token_id": [5, 9]}, 8, r"leaves out the eos token \(id 9\): give at least 10"),
        ({"mask_token_id": 3, "unk_token_id": 9}, 8, r"leaves out the unk token \(id 9\): give at least 10"),
        ({"mask_token_id": 3, "text_frame": {"end": [9]}}, 9, r"a token of `text_frame` \(id 9\): give at least 10"),
    ],
)
def test_a_vocabulary_does_not_shrink_below_the_special_tokens(ids, size, message, tiny_model):
    model = tiny_model("none", **ids)
    with pytest.raises(ValueError, match=message):
        model.resize_token_embeddings(size)
    assert model.config.vocab_size == len(model.model.embed_tokens.weight) == 11


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *(("new_num_tokens", size) for size in (40.0, 40.5, 0, -8, "16", True, float("nan"))),
        *(("pad_to_multiple_of", size) for size in (0, -8, True)),
    ],
    ids=str,
)
def test_sizes_that_are_no_counts_are_refused(name, size, tiny_model):
    with pytest.raises(ValueError, match=f"`{name}` is .*; give a whole number of at least 1"):
        tiny_model("none").resize_token_embeddings(**{name: size})


def test_the_streams_alone_know_their_tokens_as_well(tiny_config):
    streams = LaddModel(tiny_config("none"))
    with pytest.raises(ValueError, match="leaves out the mask token"):
        streams.resize_token_embeddings(10)
    streams.resize_token_embeddings(pad_to_multiple_of=8)
    assert (streams.config.vocab_size, streams.config.tokenizer_size) == (16, 11)


# --- whose tokenizer ---


def test_pipeline_and_trainer_take_the_vocabulary_from_their_tokenizer(tiny_model, tmp_path):
    piped, trained = (tiny_model("none", vocab_size=16, pad_token_id=None) for _ in range(2))
    LaddPipeline(piped, tokenizer=tiny_tokenizer())
    arguments = LaddTrainingArguments(str(tmp_path), use_cpu=True, ema_decay=0)
    trainer = LaddTrainer(trained, arguments, train_dataset=texts(), processing_class=tiny_tokenizer())
    for model in (piped, trained):
        assert (model.config.tokenizer_size, model.config.pad_token_id) == (11, PAD)
    assert trainer.data_collator.vocabulary == Vocabulary(MASK, PAD, tokenizer_size=11, size=16)


@pytest.mark.parametrize(
    "sizes", [{"vocab_size": 6, "mask_token_id": 5}, {"mask_token_id": 9}], ids=["too small", "another mask"]
)
def test_a_model_that_waits_for_its_own_tokenizer_is_told_nothing_of_the_one_before(sizes, tiny_model):
    pipe = LaddPipeline(tiny_model("none", pad_token_id=None), tokenizer=tiny_tokenizer())
    other = tiny_model("none", pad_token_id=None, **sizes)
    before = other.config.to_dict()
    pipe.model = other
    assert other.config.to_dict() == before
    if "vocab_size" not in sizes:
        pipe.tokenizer = tiny_tokenizer(mask_id=9)
        assert other.config.pad_token_id == PAD
    alike = tiny_model("none", pad_token_id=None)
    LaddPipeline(tiny_model("none"), tokenizer=tiny_tokenizer()).model = alike
    assert alike.config.pad_token_id == PAD


def test_a_tokenizer_that_leaves_ids_out_is_as_large_as_its_last_id():
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "[MASK]": 7}, unk_token="a"))
    assert tokenizer_size(PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]")) == 8


def test_a_configuration_of_before_has_a_token_for_each_id(tiny_config):
    described = {name: value for name, value in tiny_config("none").to_dict().items() if name != "tokenizer_size"}
    config = LaddConfig.from_dict(described)
    assert Vocabulary.of(config).never_written(11).nonzero().flatten().tolist() == [PAD, MASK]


@pytest.mark.parametrize("role", WRITTEN_ROLES)
def test_padding_that_stands_for_something_in_texts_is_text(role, stirred_model):
    model = stirred_model("none", **{role: PAD})
    tokens = torch.full((2, 12), PAD)
    assert model(tokens).logits[..., PAD].isfinite().all() and (written(model) == PAD).any()
    assert model(tokens, labels=tokens).loss.isfinite() and model.nelbo(tokens).total_nats.isfinite().all()


@pytest.mark.parametrize("role", WRITTEN_ROLES)
def test_so_it_is_where_only_the_tokenizer_says_so(role, tiny_model, tmp_path):
    tokenizer, model = tiny_tokenizer(), tiny_model("none", pad_token_id=None)
    setattr(tokenizer, role.removesuffix("_id"), "[PAD]")
    arguments = LaddTrainingArguments(str(tmp_path), use_cpu=True, ema_decay=0)
    collate = LaddTrainer(model, arguments, train_dataset=texts(), processing_class=tokenizer).data_collator
    batch = collate([{"input_ids": [1, PAD, 2, PAD], "attention_mask": [1, 1, 1, 0]}])
    assert model(**batch, labels=batch["input_ids"]).loss.isfinite()
    model.save_pretrained(tmp_path / "saved")
    saved = LaddForDiffusionLM.from_pretrained(tmp_path / "saved")
    for one in (model, saved):
        assert Vocabulary.of(one.config).pad_token_id is None
        assert LaddPipeline(one).scheduler.config.pad_token_id is None


def test_what_does_not_pad_is_no_concern_of_the_configuration(tiny_model):
    tokenizer, model = tiny_tokenizer(), tiny_model("none")
    tokenizer.unk_token = "c"
    LaddPipeline(model, tokenizer=tokenizer)
    assert not hasattr(model.config, "unk_token_id") and Vocabulary.of(model.config).pad_token_id == PAD


# --- a mask token of its own ---


@pytest.mark.parametrize(
    ("role", "several"),
    [
        ("eos_token_id", False),
        ("eos_token_id", True),
        ("bos_token_id", False),
        ("unk_token_id", False),
        ("sep_token_id", True),
        ("cls_token_id", False),
    ],
)
@pytest.mark.parametrize(
    ("one", "message"),
    [(MASK, "and `mask_token_id` are both 10"), (11, "11 lies outside the vocabulary"), (-1, "-1 lies outside")],
)
def test_what_tokenizers_write_are_tokens_and_not_the_mask(one, message, role, several):
    with pytest.raises(ValueError, match=f"`{role}` .*{message}|`{role}` {message}"):
        LaddConfig(**SIZES, **{role: [2, one] if several else one})


def test_a_vocabulary_holds_all_tokens_of_its_tokenizer():
    with pytest.raises(ValueError, match="`tokenizer_size` 12 is more than `vocab_size` 11"):
        LaddConfig(**SIZES, tokenizer_size=12)


@pytest.mark.parametrize("role", ["eos", "bos", "pad", "unk"])
def test_a_mask_token_that_is_another_token_as_well_is_refused(role, tiny_model):
    tokenizer = tiny_tokenizer()
    setattr(tokenizer, f"{role}_token", "[MASK]")
    message = rf"mask token '\[MASK\]' \(id 10\) is its `{role}_token` as well"
    with pytest.raises(ValueError, match=message):
        with_mask_token(tokenizer)
    with pytest.raises(ValueError, match=message):
        LaddPipeline(tiny_model("none"), tokenizer=tokenizer)


# --- texts ---

LONG = [1, 2, 3, 4] * 3
REFUSED = {
    "mask": ({"input_ids": [1, MASK, 2, 3]}, r"the mask token \(id 10\), .* no probability: take it out"),
    "padding": ({"input_ids": [1, 2, 3, PAD]}, r"the padding token \(id 0\), .* of 0 there, or .*`unk_token_id`"),
    "no token": ({"input_ids": [1, 12, 2, 3]}, r"beyond the tokenizer's 11 tokens an id \(id 12\), .*read texts with"),
    "beyond": ({"input_ids": [1, 16, 2, 3]}, r"the id 16, which is outside of the model's vocabulary \(0 to 15\)"),
    "negative": ({"input_ids": [1, -1, 2, 3]}, "the id -1, which is outside of the model's vocabulary"),
    "label": ({"input_ids": [1, 2, 3, 4], "labels": [-100, 2, MASK, 4]}, r"labels .*the mask token \(id 10\)"),
    "label beyond": ({"input_ids": [1, 2, 3, 4], "labels": [-100, 2, 16, 4]}, "labels .*hold the id 16"),
    "too long": ({"input_ids": [*LONG, 1]}, r"has 13 tokens, more than the model's `max_position_embeddings` \(12\)"),
}
ACCEPTED = {
    "masked context": {"input_ids": [1, MASK, 2, 3], "labels": [-100, -100, 2, 3]},
    "marked padding": {"input_ids": [1, 2, 3, 4, PAD], "attention_mask": [1, 1, 1, 1, 0]},
    "long padding": {"input_ids": [*LONG, PAD], "attention_mask": [*(1 for _ in LONG), 0]},
}


@pytest.fixture
def model(stirred_model):
    return stirred_model("discrete", vocab_size=16, tokenizer_size=11)


@pytest.fixture
def collate(model, tmp_path):
    """The collator of a trainer."""
    return LaddTrainer(model, LaddTrainingArguments(str(tmp_path), use_cpu=True, ema_decay=0)).data_collator


@pytest.mark.parametrize("case", REFUSED)
def test_texts_that_are_not_the_models_are_refused_where_they_become_batches(case, collate):
    example, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        collate([{name: torch.tensor(column) for name, column in example.items()}])


@pytest.mark.parametrize("case", REFUSED)
def test_so_they_are_by_the_loss_and_the_bound_themselves(case, model):
    example, message = REFUSED[case]
    batch = {name: torch.tensor([column]) for name, column in example.items()}
    message = message.removeprefix("labels .*")
    with pytest.raises(ValueError, match=message):
        model(**{"labels": batch["input_ids"], **batch}, loss_only=True)
    with pytest.raises(ValueError, match=message):
        model.nelbo(**batch)


@pytest.mark.parametrize("case", ACCEPTED)
def test_masked_context_and_padding_beside_a_text_are_no_reason(case, collate, model):
    batch = collate([ACCEPTED[case]])
    assert model(**{"labels": batch["input_ids"], **batch}, loss_only=True).loss.isfinite()
    assert model.nelbo(**batch).total_nats.isfinite().all()


def test_a_collator_that_was_told_nothing_looks_at_nothing():
    assert LaddCollator()([{"input_ids": [99, -3]}])["input_ids"].tolist() == [[99, -3]]


def test_a_model_that_never_heard_of_its_tokenizer_writes_all_but_mask_and_padding():
    config = LaddConfig(**SIZES, pad_token_id=PAD, max_position_embeddings=12)
    logits = LaddForDiffusionLM(config)(some_texts()).logits
    assert logits[..., [PAD, MASK]].isneginf().all() and logits[..., 1:MASK].isfinite().all()


@pytest.mark.parametrize(("given", "message"), [([16] * 4, "hold the id 16"), ([*LONG, 1], "has 13 tokens")])
def test_texts_that_are_not_the_models_have_no_latents(given, message, encoder_model):
    model = encoder_model(encoder_standardization=True)
    for ask in (
        lambda: model.encode_latents(torch.tensor([given])),
        lambda: model.gather_latent_statistics([{"input_ids": given}] * 2),
        lambda: precompute_latents(datasets.Dataset.from_dict({"input_ids": [given]}), model),
    ):
        with pytest.raises(ValueError, match=message):
            ask()
