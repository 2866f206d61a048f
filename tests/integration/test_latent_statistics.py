"""Latents are standardised by statistics that are gathered once, whatever the batches."""

from __future__ import annotations

import re

import datasets
import pytest
import torch
from helpers.encoders import letters, save_encoder, some_tokens, word_pieces
from helpers.training import texts

from ladd_hf.data import token_blocks


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("normalization", ["none", "l2"])
def test_standardised_latents_have_mean_0_and_variance_1_in_each_dimension(normalization, encoder_model):
    model = encoder_model(encoder_standardization=True, latent_normalization=normalization)
    data = texts(rows=100)
    assert model.gather_latent_statistics(data) == 400
    latents = model.encode_latents(torch.stack([one["input_ids"] for one in data])).flatten(0, 1)
    torch.testing.assert_close(latents.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(latents.var(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_before_a_learned_projection_the_states_are_standardised(encoder_model):
    model = encoder_model(encoder_standardization=True, encoder_projection="learned")
    model.gather_latent_statistics(texts())
    assert model.encoder.statistics.mean.shape == (16,)
    tokens = torch.stack([one["input_ids"] for one in texts()])
    standard = model.encoder.statistics(model.encoder.features(tokens)).flatten(0, 1)
    torch.testing.assert_close(standard.var(0, correction=0), torch.ones(16), atol=1e-4, rtol=0)
    assert torch.equal(model.encode_latents(tokens), model.encoder.projection(standard.view(64, 4, 16)))


def test_statistics_do_not_depend_on_how_the_texts_are_batched(encoder_model):
    data = [{"input_ids": one["input_ids"][: 12 - i % 5].tolist()} for i, one in enumerate(texts(rows=70))]
    batches = [{"input_ids": torch.tensor(one["input_ids"])[None]} for one in data[::-1]]
    found = []
    for source in (data, batches, iter(data)):
        model = encoder_model(encoder_standardization=True)
        model.gather_latent_statistics(source)
        found.append(torch.cat([model.encoder.statistics.mean, model.encoder.statistics.std]))
    torch.testing.assert_close(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_no_more_texts_are_looked_at_than_asked_for(encoder_model):
    model = encoder_model(encoder_standardization=True)
    assert model.gather_latent_statistics(texts(rows=70), num_examples=65) == 65 * 4


def test_a_dimension_that_never_changes_keeps_its_scale(encoder_model):
    model = encoder_model(encoder_standardization=True)
    features = torch.randn(50, 4, 3) + 1e4
    features[..., 1] = 7.0
    model.encoder.statistics.gather([features[:20], features[20:]])
    assert model.encoder.statistics.std[1] == 1 and model.encoder.statistics.mean[1] == 7
    torch.testing.assert_close(model.encoder.statistics.std[0], features[..., 0].double().std(correction=0).float())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e200])
@pytest.mark.parametrize("where", [0, 1])
def test_an_encoder_whose_numbers_are_not_finite_is_named_and_nothing_is_kept_of_them(encoder_model, bad, where):
    model = encoder_model(encoder_standardization=True)
    statistics, name = model.encoder.statistics, model.config.encoder["name_or_path"]
    for gathered in (False, True):
        if gathered:
            model.gather_latent_statistics(texts())
        before = [value.clone() for value in statistics.state_dict().values()]
        batches = list(torch.randn(2, 5, 4, 3, dtype=torch.float64))
        batches[where][2, 1, 0] = bad
        model.encoder.features = lambda *_, left=batches: left.pop(0)
        with pytest.raises(ValueError, match=f"{re.escape(repr(name))} gives numbers that are not finite.*float32"):
            model.gather_latent_statistics([{"input_ids": some_tokens()}] * 2)
        assert all(map(torch.equal, before, statistics.state_dict().values())) and statistics.gathered == gathered
        del model.encoder.features


def test_the_trainer_gathers_statistics_where_there_are_none(encoder_model, make_trainer):
    model = encoder_model(encoder_standardization=True)
    data = texts()
    make_trainer(model, "one", data=data, max_steps=1).train()
    expected = encoder_model(encoder_standardization=True)
    expected.gather_latent_statistics(data)
    assert torch.equal(model.encoder.statistics.mean, expected.encoder.statistics.mean)
    make_trainer(model, "two", data=texts(seed=1), max_steps=1).train()
    assert torch.equal(model.encoder.statistics.mean, expected.encoder.statistics.mean), "once"
    init = {"trainer_options": {"model_init": lambda: encoder_model(encoder_standardization=True)}}
    trainer = make_trainer(None, "three", data=data, max_steps=1, **init)
    trainer.train()
    assert torch.equal(trainer.model.encoder.statistics.mean, expected.encoder.statistics.mean)


def test_the_trainer_tells_the_encoder_the_tokenizer(encoder_model, make_trainer, tmp_path):
    own = word_pieces(["abc def ghi"], vocab_size=30)
    name = save_encoder(tmp_path / "encoder", "bert", own, vocab_size=len(own))
    for number, init in enumerate((False, True)):
        made = lambda: encoder_model(encoder=name, encoder_tokenizer="own", encoder_standardization=True)  # noqa: E731
        options = {"processing_class": letters("abcdefghi"), **({"model_init": made} if init else {})}
        trainer = make_trainer(None if init else made(), f"run {number}", max_steps=1, trainer_options=options)
        trainer.train()
        assert trainer.model.encoder.model_tokenizer is options["processing_class"]


def test_a_stream_that_stands_in_its_middle_stays_there(encoder_model):
    def stream():
        source = datasets.Dataset.from_dict({"text": ["abcdefghi" * 40] * 4}).to_iterable_dataset()
        return token_blocks(source, letters("abcdefghi"), 12, remainder="drop").shuffle(0, 8)

    read = iter(stream())
    first = stream()
    started = iter(first)
    for _ in range(5):
        assert next(read)["input_ids"].tolist() == next(started)["input_ids"].tolist()
    again = stream()
    again.load_state_dict(first.state_dict())
    encoder_model(encoder_standardization=True).gather_latent_statistics(again, num_examples=20)
    assert [row["input_ids"].tolist() for row in again] == [row["input_ids"].tolist() for row in read]


def test_missing_statistics_are_missed(encoder_model, tiny_model):
    model = encoder_model(encoder_standardization=True)
    with pytest.raises(ValueError, match=r"by no statistics yet: call `model.gather_latent_statistics"):
        model.encode_latents(some_tokens())
    with pytest.raises(ValueError, match=r"at least 2 of them, but there are 0"):
        model.gather_latent_statistics([])
    with pytest.raises(ValueError, match=r"have the columns 'text', and no `input_ids`: tokenize"):
        model.gather_latent_statistics([{"text": "a"}])
    for other in (encoder_model(), tiny_model("continuous")):
        with pytest.raises(ValueError, match=r"standardises no latents"):
            other.gather_latent_statistics(texts())
