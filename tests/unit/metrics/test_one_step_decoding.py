"""One-step accuracy: all from latents that carry the text, nothing from another text's or from none."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from helpers.modeless import Modeless

from ladd_hf.metrics import one_step_accuracy


class CopyingModel(Modeless):
    """Latents are the tokens; the denoiser reads them off, and says 1 where they say nothing."""

    class config:
        latent_type, mask_token_id, vocab_size = "discrete", 10, 11

    class latent_channel:
        @staticmethod
        def dropped(latents):
            return torch.full_like(latents, 10)

    def encode(self, tokens, attention_mask=None, random=None, update_codebook=True):
        return SimpleNamespace(clean=tokens.clone())

    def denoise(self, tokens, latents, *, logits_mask, token_timesteps, **_):
        assert (tokens[logits_mask] == 10).all() and (token_timesteps == 1).all(), "nothing is seen but the latents"
        guesses = torch.where(latents == 10, 1, latents)
        return type("Output", (), {"logits": torch.nn.functional.one_hot(guesses, 11).float()[logits_mask]})


class ModelOfStoredLatents(CopyingModel):
    """The same, that may be told what its encoder said before."""

    def encode(self, tokens, attention_mask=None, random=None, update_codebook=True, precomputed_latents=None):
        return SimpleNamespace(clean=precomputed_latents)


def test_it_is_the_share_of_tokens_that_the_latents_give_away():
    tokens = torch.tensor([[1, 2, 3, 4], [5, 2, 1, 1], [6, 6, 6, 6]])
    shares = one_step_accuracy(CopyingModel(), tokens)
    assert shares == pytest.approx({"true": 1.0, "shuffled": 1 / 12, "none": 3 / 12})


def test_latents_that_were_stored_are_read_in_place_of_the_encoders():
    tokens = torch.tensor([[1, 2, 3, 4], [5, 2, 1, 1]])
    stored = torch.where(tokens == 1, 7, tokens)
    assert one_step_accuracy(ModelOfStoredLatents(), tokens, precomputed_latents=stored)["true"] == pytest.approx(5 / 8)


def test_padding_does_not_count():
    tokens = torch.tensor([[1, 2, 0, 0], [1, 1, 1, 0]])
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]])
    assert one_step_accuracy(CopyingModel(), tokens, mask)["none"] == pytest.approx(4 / 5)


@pytest.mark.parametrize("kind", ["continuous", "separate", "discrete", "vector", "gumbel"])
def test_every_kind_of_latents_is_measured_and_left_as_it_was(kind, stirred_model):
    model = stirred_model(kind).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shares = one_step_accuracy(model, torch.randint(1, 10, (6, 12)))
    assert set(shares) == {"true", "shuffled", "none"} and all(0 <= share <= 1 for share in shares.values())
    assert model.training and all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize(("kind", "rows"), [("none", 4), ("discrete", 1)])
def test_without_latents_or_a_second_text_there_is_nothing_to_measure(kind, rows, tiny_model):
    with pytest.raises(ValueError, match="a model with latents and two texts"):
        one_step_accuracy(tiny_model(kind), torch.ones(rows, 12, dtype=torch.int64))
