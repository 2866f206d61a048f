"""Latents of an encoder of our own that are standardised: by what, when, and what else stays."""

from __future__ import annotations

import pytest
import torch
from helpers.training import texts

from ladd_hf import LaddForDiffusionLM
from ladd_hf.diffusion.rng import RowGenerator

TOKENS = torch.stack([one["input_ids"] for one in texts(rows=100)])


@pytest.mark.parametrize("kind", ["continuous", "separate"])
@pytest.mark.parametrize("normalization", ["none", "l2"])
def test_they_have_mean_0_and_variance_1_in_each_dimension(kind, normalization, stirred_model):
    model = stirred_model(kind, encoder_standardization=True, latent_normalization=normalization)
    assert model.gather_latent_statistics(texts(rows=100)) == 400
    latents = model.encode_latents(TOKENS).flatten(0, 1)
    torch.testing.assert_close(latents.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.var(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)


def test_until_there_are_statistics_they_are_those_of_a_model_without(stirred_model):
    model, plain = stirred_model("continuous", encoder_standardization=True), stirred_model("continuous")
    assert model.needs_latent_statistics and model.standardises_when_fixed
    assert not plain.needs_latent_statistics and plain.state_dict().keys() < model.state_dict().keys()
    plain.load_state_dict(model.state_dict(), strict=False)
    before = plain.encode_latents(TOKENS)
    assert torch.equal(model.encode_latents(TOKENS), before)
    model.gather_latent_statistics(texts(rows=100))
    assert not model.needs_latent_statistics
    statistics = model.encoder.statistics
    torch.testing.assert_close(model.encode_latents(TOKENS) * statistics.std + statistics.mean, before)


def test_of_an_encoder_with_a_variance_it_is_what_is_diffused_that_has_variance_1(stirred_model):
    model = stirred_model("continuous", encoder_standardization=True, encoder_variance="fixed", encoder_std=2.0)
    model.gather_latent_statistics(texts(rows=100))
    drawn = model.encode(TOKENS, None, RowGenerator.from_seed(5, torch.arange(100))).vectors.flatten(0, 1)
    assert (drawn.var(0) - 1).abs().max() < 0.25 and model.encode_latents(TOKENS).flatten(0, 1).var(0).max() < 0.8


def test_statistics_do_not_depend_on_batches_and_are_saved(stirred_model, tmp_path):
    found = []
    for source in (texts(rows=70), [{"input_ids": TOKENS[:30]}, {"input_ids": TOKENS[30:70]}]):
        model = stirred_model("continuous", encoder_standardization=True, encoder_variance="fixed")
        model.gather_latent_statistics(source)
        found.append(torch.cat([model.encoder.statistics.mean, model.encoder.statistics.std]))
    torch.testing.assert_close(*found)
    model.save_pretrained(tmp_path)
    again = LaddForDiffusionLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert again.encoder.statistics.std.dtype == torch.float32 and not again.needs_latent_statistics
    assert torch.equal(again.encoder.statistics.mean, model.encoder.statistics.mean)


def test_a_loaded_state_is_looked_at_anew(stirred_model):
    model = stirred_model("continuous", encoder_standardization=True)
    assert model.needs_latent_statistics
    other = stirred_model("continuous", encoder_standardization=True)
    other.gather_latent_statistics(texts())
    model.load_state_dict(other.state_dict())
    assert not model.needs_latent_statistics


def test_where_nothing_is_standardised_it_is_refused(tiny_config, stirred_model):
    with pytest.raises(ValueError, match=r"'discrete', but `encoder.standardization` is set for a trained encoder"):
        tiny_config("vector", encoder_standardization=True)
    with pytest.raises(ValueError, match=r"standardises no latents: set `encoder.standardization`"):
        stirred_model("continuous").gather_latent_statistics(texts())
    with pytest.raises(ValueError, match="need at least 2 of them"):
        stirred_model("continuous", encoder_standardization=True).gather_latent_statistics([])
