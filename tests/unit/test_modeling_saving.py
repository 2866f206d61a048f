"""Models are saved, copied, cast and looked into as transformers' are."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from helpers.model_calls import KINDS, MASK, TIMES, WRITTEN, call, gradients, loss_of, noised, some_latents, some_tokens

from ladd_hf import LaddForDiffusionLM, LaddJointScheduler, LaddModel, LaddPipeline

pytestmark = pytest.mark.usefixtures("torch_seed")


# --- saving, copying, precision ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_is_the_saved_one(kind, stirred_model, tmp_path):
    model = stirred_model(kind)
    model.save_pretrained(tmp_path)
    loaded, info = LaddForDiffusionLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    before, after = model.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    tokens, latents = noised(some_tokens()), some_latents(model)
    outputs = [call(m, tokens, latents=latents) for m in (model, loaded.eval())]
    assert torch.equal(outputs[0].logits, outputs[1].logits)
    clean = some_tokens()
    assert torch.equal(loss_of(model, clean).loss, loss_of(loaded, clean).loss)


@pytest.mark.parametrize("whole", [False, True], ids=["model", "pipeline"])
def test_nothing_is_saved_where_there_is_a_file_and_that_is_said(whole, tiny_model, tmp_path):
    model = tiny_model("none")
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(ValueError, match="taken is a file, not a folder to save in"):
        (LaddPipeline(model, LaddJointScheduler()) if whole else model).save_pretrained(tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_can_be_pickled(kind, stirred_model):
    model = stirred_model(kind)
    again = pickle.loads(pickle.dumps(model))
    tokens = some_tokens()
    assert torch.equal(loss_of(again, tokens).loss, loss_of(model, tokens).loss)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_equal_and_lives_its_own_life(kind, stirred_model):
    model = stirred_model(kind)
    twin = copy.deepcopy(model)
    tokens, latents = some_tokens(), some_latents(model)
    before = call(model, tokens, latents=latents).logits
    assert torch.equal(call(twin, tokens, latents=latents).logits, before)
    with torch.no_grad():
        for weight in twin.parameters():
            weight.mul_(0.5)
    assert torch.equal(call(model, tokens, latents=latents).logits, before)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_predicts_roughly_the_same(kind, stirred_model, tmp_path):
    model = stirred_model(kind)
    model.save_pretrained(tmp_path)
    half = LaddForDiffusionLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    tokens, latents = noised(some_tokens()), some_latents(model)
    expected, logits = (call(m, tokens, latents=latents).logits[..., WRITTEN] for m in (model, half))
    assert logits.dtype == torch.bfloat16
    assert torch.cosine_similarity(expected.flatten(), logits.float().flatten(), dim=0) > 0.99
    loss = loss_of(half, some_tokens()).loss
    assert loss.dtype == torch.float32 and loss.isfinite()
    if kind != "none":
        half.latent_channel.check(half.encode_latents(some_tokens()), 2, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_trains(kind, stirred_model):
    model = stirred_model(kind).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, some_tokens(4)).loss
    found = gradients(model, loss)
    assert loss.isfinite() and all(g.isfinite().all() and g.dtype == torch.float32 for g in found.values())


def test_input_and_output_embeddings_can_be_one_matrix(tiny_model, tmp_path):
    model = tiny_model("continuous", tie_word_embeddings=True)
    assert model.token_head.proj.weight is model.model.embed_tokens.weight
    assert model.model.embed_tokens.weight.std() > 0.05, "the head's zero start does not wipe the embeddings out"
    model.save_pretrained(tmp_path)
    loaded = LaddForDiffusionLM.from_pretrained(tmp_path)
    assert loaded.token_head.proj.weight is loaded.model.embed_tokens.weight
    assert torch.equal(loaded.model.embed_tokens.weight, model.model.embed_tokens.weight)
    apart = tiny_model("continuous")
    assert apart.token_head.proj.weight is not apart.model.embed_tokens.weight


def test_a_grown_vocabulary_keeps_the_mask_out(stirred_model):
    model = stirred_model("none")
    tokens = some_tokens()
    before = model(tokens).logits
    model.resize_token_embeddings(14)
    after = model(tokens).logits
    assert after.shape == (2, 12, 14) and (after[..., MASK] == -torch.inf).all()
    torch.testing.assert_close(after[..., WRITTEN], before[..., WRITTEN])


# --- what can be looked at ---


@pytest.mark.parametrize("kind", ["none", "continuous"])
def test_hidden_states_and_attentions_come_where_asked_for(kind, stirred_model):
    model = stirred_model(kind)
    model.set_attn_implementation("eager")
    tokens = some_tokens()
    output = call(model, tokens, output_hidden_states=True, output_attentions=True)
    assert [s.shape for s in output.hidden_states] == [(2, 12, 32)] * 3
    assert torch.equal(output.hidden_states[0], model.get_input_embeddings()(tokens))
    places = 12 if kind == "none" else 16
    assert [a.shape for a in output.attentions] == [(2, 2, places, places)] * 2
    for weights in output.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, places))
    silent = call(model, tokens)
    assert silent.hidden_states is None and silent.attentions is None


def test_the_base_model_gives_the_states_the_heads_read(stirred_model):
    model = stirred_model("continuous")
    tokens, latents = some_tokens(), torch.randn(2, 4, 3)
    states = model.model(tokens, latents, latent_timesteps=TIMES)
    assert isinstance(model.model, LaddModel)
    assert states.latent_hidden_state.shape == (2, 4, 32) and states.conditioning.shape == (2, 16)
    hidden = model.token_head.modulate(states.last_hidden_state, states.conditioning)
    logits = model(tokens, latents, latent_timesteps=TIMES).logits
    torch.testing.assert_close(model.token_head.proj(hidden)[..., WRITTEN], logits[..., WRITTEN])
