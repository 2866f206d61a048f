"""Latents from any pretrained network: one that is fixed is no part of the model, one that is trained is."""

from __future__ import annotations

import copy
import json
import pickle
import shutil

import pytest
import torch
from helpers.encoders import ENCODERS, build_encoder, is_loaded, letters, save_encoder, some_tokens, word_pieces
from helpers.training import texts
from peft import LoraConfig
from safetensors import safe_open

from ladd_hf import LaddForDiffusionLM, LaddPipeline, RowGenerator
from ladd_hf.models.adapters import learnable_names

LENGTHS = torch.tensor([12, 9, 6, 5, 4])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def padding_mask(side="right"):
    mask = (torch.arange(12) < LENGTHS[:, None]).long()
    return mask if side == "right" else mask.flip(1)


# --- what the latents are ---


@pytest.mark.parametrize("encoder", ENCODERS)
def test_latents_are_the_pooled_states_cut_to_their_size(encoder, encoder_model):
    tokens = some_tokens()
    with torch.no_grad():
        states = build_encoder(encoder)(input_ids=tokens).last_hidden_state
    latents = encoder_model(encoder=encoder).encode_latents(tokens)
    torch.testing.assert_close(latents, states.unflatten(1, (4, 3)).mean(2)[..., :3])
    whole = encoder_model(encoder=encoder, encoder_pooling="mean", latent_length=1, latent_dim=16)
    torch.testing.assert_close(whole.encode_latents(tokens), states.mean(1, keepdim=True))
    last = encoder_model(encoder=encoder, encoder_pooling="last_token", latent_length=1, latent_dim=16)
    torch.testing.assert_close(last.encode_latents(tokens), states[:, -1:])
    layer = encoder_model(encoder=encoder, encoder_pooling="last_layer", latent_length=12, latent_dim=16)
    torch.testing.assert_close(layer.encode_latents(tokens), states)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pooling", ["adaptive_chunk_mean", "adaptive_chunk_mean_eos", "mean", "last_token"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_padded_row_has_the_latents_of_the_shorter_row_alone(encoder, pooling, side, encoder_model):
    latent_length = 4 if "chunk" in pooling else 1
    model = encoder_model(encoder=encoder, encoder_pooling=pooling, latent_length=latent_length, latent_dim=16)
    tokens, mask = some_tokens(), padding_mask(side)
    together = model.encode_latents(tokens, mask)
    for row in range(len(tokens)):
        alone = model.encode_latents(tokens[row][mask[row].bool()][None])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)
    refilled = torch.where(mask.bool(), tokens, 0)
    assert torch.equal(model.encode_latents(refilled, mask), together)


def test_an_encoder_decoder_is_its_first_half_be_it_saved_whole_or_alone(encoder_model, tmp_path):
    whole, tokens = build_encoder("whole_t5"), some_tokens()
    whole.save_pretrained(tmp_path / "whole")
    alone = build_encoder("t5")
    alone.load_state_dict(whole.state_dict(), strict=False)
    alone.save_pretrained(tmp_path / "alone")
    with torch.no_grad():
        states = whole.get_encoder()(input_ids=tokens).last_hidden_state
    for name in ("whole", "alone"):
        model = encoder_model(
            encoder=str(tmp_path / name), encoder_pooling="last_token", latent_length=1, latent_dim=16
        )
        torch.testing.assert_close(model.encode_latents(tokens), states[:, -1:])
        trained = encoder_model(encoder=str(tmp_path / name), encoder_trained=True)
        assert not any("decoder" in weight for weight in trained.encoder.state_dict())
    weights = {name: weight for name, weight in whole.state_dict().items() if not name.startswith("encoder.block.1")}
    whole.save_pretrained(tmp_path / "part", state_dict=weights)
    with pytest.raises(ValueError, match=r"lacks weights \(encoder.block.1"):
        encoder_model(encoder=str(tmp_path / "part")).encode_latents(tokens)


@pytest.mark.parametrize("kind, length", [("l2", 3**0.5), ("unit", 1.0)])
@pytest.mark.parametrize("projection", ["cut", "learned"])
def test_normalised_latents_have_their_length(projection, kind, length, encoder_model):
    model = encoder_model(latent_normalization=kind, encoder_projection=projection)
    norms = model.encode_latents(some_tokens()).norm(dim=-1)
    torch.testing.assert_close(norms, torch.full_like(norms, length))


def test_a_fixed_variance_is_drawn_around_the_pooled_states(encoder_model):
    model, tokens = encoder_model(encoder_variance="fixed", encoder_std=0.3), some_tokens(1).expand(2000, -1)
    mean = model.encode(tokens[:1]).vectors
    drawn = model.encode(tokens, None, RowGenerator(torch.arange(2000))).vectors
    assert abs(((drawn - mean) / 0.3).std() - 1) < 0.03
    assert torch.equal(mean, encoder_model().encode(tokens[:1]).vectors)


def test_a_sentence_encoder_is_read_from_its_folder(tmp_path, encoder_model):
    folder = tmp_path / "sentences"
    name = save_encoder(folder, "bert", word_pieces(["abc def"], vocab_size=11))
    modules = [{"idx": i, "name": str(i), "path": p, "type": "x"} for i, p in enumerate(["", "1_Pooling"])]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    tokens = some_tokens()
    assert torch.equal(encoder_model(encoder=name).encode_latents(tokens), encoder_model().encode_latents(tokens))


def test_hidden_tokens_leave_no_trace(encoder_model, tmp_path):
    tokens = some_tokens()
    hidden = torch.rand(tokens.shape) < 0.4
    other = torch.where(hidden, tokens % 9 + 1, tokens)
    alone = save_encoder(tmp_path / "alone")
    with_tokenizer = save_encoder(tmp_path / "with", tokenizer=letters("abcdefghi"))
    for name, read_as in ((alone, 0), (with_tokenizer, 10)):
        model = encoder_model(encoder=name)
        seen, other_seen = (model.encode_latents(torch.where(hidden, 10, one)) for one in (tokens, other))
        assert torch.equal(seen, other_seen)
        assert not torch.allclose(model.encode_latents(tokens), model.encode_latents(other), atol=1e-3)
        states = build_encoder("bert")(torch.where(hidden, read_as, tokens)).last_hidden_state
        torch.testing.assert_close(seen, states.unflatten(1, (4, 3)).mean(2)[..., :3], msg=name)


# --- a fixed encoder is no part of the model ---


@pytest.mark.parametrize("kind", ["continuous", "separate", "discrete", "vector", "gumbel"])
def test_a_fixed_encoder_is_seen_by_nobody(kind, encoder_model):
    model = encoder_model(kind)
    names = set(model.state_dict()), set(dict(model.named_modules()))
    assert not is_loaded(model) and not list(model.encoder.parameters())
    model.encode_latents(some_tokens())
    assert is_loaded(model)
    assert names == (set(model.state_dict()), set(dict(model.named_modules())))
    assert not any("encoder" in name for name in learnable_names(model))
    copied = copy.deepcopy(model)
    assert copied.encoder.pretrained.network is model.encoder.pretrained.network, "shared, not copied"
    assert pickle.loads(pickle.dumps(model.encoder)).pretrained.network is None


@pytest.mark.parametrize("kind", ["continuous", "vector"])
def test_generating_needs_no_encoder_and_encoding_says_what_it_lacks(kind, encoder_model, tmp_path):
    name = save_encoder(tmp_path / "encoder")
    model = encoder_model(kind, encoder=name, encoder_standardization=True, quantizer_kmeans_init=False)
    model.gather_latent_statistics(texts())
    tokens = some_tokens()
    latents = model.encode_latents(tokens)
    LaddPipeline(model).save_pretrained(tmp_path / "pipeline")
    again = LaddPipeline.from_pretrained(tmp_path / "pipeline").model
    assert torch.equal(again.encode_latents(tokens), latents)
    shutil.rmtree(name)
    pipe = LaddPipeline.from_pretrained(tmp_path / "pipeline")
    assert pipe(num_steps=3, batch_size=2, output_type="seq").sequences.shape == (2, 12)
    assert not is_loaded(pipe.model)
    with pytest.raises(OSError, match=r"encoder '.*encoder' cannot be loaded.*Generating needs no encoder") as error:
        pipe.model.encode_latents(tokens)
    assert "\n" not in str(error.value)


def test_it_stays_in_evaluation_mode_and_gets_no_gradient(encoder_model, tmp_path):
    name = save_encoder(tmp_path / "encoder", hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    model, tokens = encoder_model(encoder=name).train(), some_tokens()
    one, two = (model.encode(tokens).vectors for _ in range(2))
    assert torch.equal(one, two) and not one.requires_grad
    model(input_ids=tokens, labels=tokens).loss.backward()
    network = model.encoder.pretrained.network
    assert not network.training and all(weight.grad is None for weight in network.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_runs_in_the_models_dtype_but_statistics_stay_whole(dtype, encoder_model, tmp_path):
    model, tokens = encoder_model(encoder_standardization=True), some_tokens()
    model.gather_latent_statistics(texts())
    whole = model.encode_latents(tokens)
    statistics = copy.deepcopy(model.encoder.statistics)
    model.save_pretrained(tmp_path / "model")
    loaded = LaddForDiffusionLM.from_pretrained(tmp_path / "model", dtype=dtype)
    for half in (loaded, model.to(dtype)):
        latents = half.encode_latents(tokens)
        assert latents.dtype == half.encoder.pretrained.network.dtype == dtype
        assert torch.equal(half.encoder.statistics.mean, statistics.mean)
        assert torch.equal(half.encoder.statistics.std, statistics.std)
        assert (latents.float() - whole).abs().max() < 0.2
    torch.testing.assert_close(model.to(torch.float32).encode_latents(tokens), whole)


def test_what_is_compiled_calls_it_as_it_is(encoder_model):
    model, tokens, mask = encoder_model(encoder_projection="learned"), some_tokens(), padding_mask()
    compiled = torch.compile(lambda *inputs: model.encode(*inputs).vectors * 2, backend="eager")
    torch.testing.assert_close(compiled(tokens, mask), model.encode(tokens, mask).vectors * 2)
    assert is_loaded(model)


# --- projection and quantiser on top of it ---


def test_a_learned_projection_is_trained_and_saved(encoder_model, tmp_path):
    model, tokens = encoder_model(encoder_projection="learned", latent_dim=24), some_tokens()
    assert [name for name in model.state_dict() if name.startswith("encoder")] == [
        "encoder.projection.weight",
        "encoder.projection.bias",
    ]
    model.encode(tokens).vectors.sum().backward()
    assert model.encoder.projection.weight.grad.abs().max() > 0
    model.save_pretrained(tmp_path / "model")
    again = LaddForDiffusionLM.from_pretrained(tmp_path / "model")
    assert torch.equal(again.encode_latents(tokens), model.encode_latents(tokens))
    model.freeze_latent_encoder()
    assert not model.encode(tokens).vectors.requires_grad


def test_codes_of_fixed_features_come_alive(encoder_model, make_trainer):
    model = encoder_model("vector", encoder_standardization=True, latent_dim=8)
    trainer = make_trainer(model, max_steps=4, time_distribution="joint")
    trainer.train()
    assert len(model.encode_latents(some_tokens(64)).unique()) > 4


def test_beside_adapters_the_projection_is_adapted_and_the_encoder_is_left_alone(encoder_model, tmp_path):
    model, tokens = encoder_model(encoder_projection="learned"), some_tokens()
    model.add_adapter(LoraConfig(target_modules="all-linear"))
    model.train()
    model(input_ids=tokens, labels=tokens).loss.backward()
    network = model.encoder.pretrained.network
    assert not any("lora" in name for name, _ in network.named_parameters())
    assert all(weight.grad is None for weight in network.parameters())
    model.eval().save_pretrained(tmp_path / "adapter")
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "pt") as file:
        of_encoder = sorted(name for name in file.keys() if ".encoder." in f".{name}")  # noqa: SIM118
    assert len(of_encoder) == 2 and all("encoder.projection.lora" in name for name in of_encoder)
    LaddPipeline(model).save_pretrained(tmp_path / "pipeline")
    again = LaddPipeline.from_pretrained(tmp_path / "pipeline").model
    torch.testing.assert_close(again.encode_latents(tokens), model.encode_latents(tokens))


def test_what_is_pushed_takes_the_code_along(encoder_model, tmp_path):
    model = encoder_model()
    with model.code_included():
        model.save_pretrained(tmp_path)
    files = {file.name for file in tmp_path.iterdir()}
    assert {"pretrained.py", "pooling.py", "encoder_options.py", "text_alignment.py", "model.safetensors"} <= files


# --- an encoder that is trained ---


@pytest.mark.parametrize("encoder", ["bert", "qwen3"])
def test_a_trained_encoder_starts_pretrained_and_is_a_part_like_any_other(encoder, encoder_model, tmp_path):
    name = save_encoder(tmp_path / "encoder", encoder)
    model, fixed = encoder_model(encoder=name, encoder_trained=True), encoder_model(encoder=encoder)
    tokens, mask = some_tokens(), padding_mask("left")
    torch.testing.assert_close(model.encode_latents(tokens, mask), fixed.encode_latents(tokens, mask))
    model.train()
    model(input_ids=tokens, labels=tokens).loss.backward()
    untaught = [name for name, weight in model.encoder.named_parameters() if weight.grad is None]
    assert not untaught, "every weight is in use, as data-parallel training asks"
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    model.eval().save_pretrained(tmp_path / "model")
    shutil.rmtree(name)
    half = LaddForDiffusionLM.from_pretrained(tmp_path / "model", dtype=torch.bfloat16)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    again = LaddForDiffusionLM.from_pretrained(tmp_path / "model")
    assert torch.equal(again.encode_latents(tokens, mask), model.encode_latents(tokens, mask))
    assert not torch.allclose(again.encode_latents(tokens, mask), fixed.encode_latents(tokens, mask), atol=1e-2)
    with pytest.raises(ValueError, match=r"cannot be had beforehand"):
        model.encode(tokens, precomputed_latents=torch.zeros(5, 4, 3))


def test_a_trained_encoder_that_was_never_asked_still_knows_what_hidden_tokens_are(encoder_model, tmp_path):
    name = save_encoder(tmp_path / "encoder", tokenizer=letters("abcdefghi"))
    encoder_model(encoder=name, encoder_trained=True).save_pretrained(tmp_path / "model")
    shutil.rmtree(name)
    again = LaddForDiffusionLM.from_pretrained(tmp_path / "model")
    again.encode_latents(some_tokens())
    assert again.config.encoder["mask_token_id"] == 10


def test_a_second_model_of_one_configuration_starts_pretrained_too(encoder_model, tiny_config, encoder_folders):
    config = tiny_config("continuous", encoder_name_or_path=encoder_folders["bert"], encoder_trained=True)
    one, two = LaddForDiffusionLM(config), LaddForDiffusionLM(config)
    tokens = some_tokens()
    assert torch.equal(one.eval().encode_latents(tokens), two.eval().encode_latents(tokens))
    torch.testing.assert_close(one.encode_latents(tokens), encoder_model().encode_latents(tokens))


def test_a_model_on_the_meta_device_fetches_no_weights(tiny_config):
    config = tiny_config("continuous", encoder_name_or_path="nowhere/at-all")
    with torch.device("meta"):
        model = LaddForDiffusionLM(config)
    assert not is_loaded(model)


# --- whose tokens ---


def test_an_encoder_with_its_own_tokenizer_needs_the_models(encoder_model, tmp_path):
    own = word_pieces(["abc def ghi"], vocab_size=30)
    name = save_encoder(tmp_path / "encoder", "bert", own, vocab_size=len(own))
    model, tokens = encoder_model(encoder=name, encoder_tokenizer="own"), some_tokens()
    with pytest.raises(ValueError, match=r"give the model its tokenizer by `model.set_tokenizer"):
        model.encode_latents(tokens)
    tokenizer = letters("abcdefghi")
    model.set_tokenizer(tokenizer)
    mask = padding_mask("left")
    latents = model.encode_latents(tokens, mask)
    row = own(tokenizer.decode(tokens[1, 3:]), return_tensors="pt")
    states = build_encoder("bert", len(own))(row["input_ids"]).last_hidden_state
    mean = encoder_model(encoder=name, encoder_tokenizer="own", encoder_pooling="mean", latent_length=1)
    pipe = LaddPipeline(mean, tokenizer=tokenizer)  # which tells the model
    torch.testing.assert_close(pipe.encode([tokens[1, 3:].tolist()]), states.mean(1, keepdim=True)[..., :3])
    refilled = torch.where(mask.bool(), tokens, 0)
    assert torch.equal(model.encode_latents(refilled, mask), latents)


def test_vocabularies_that_are_not_shared_are_told_apart(encoder_model, tmp_path):
    tokens, says = some_tokens(), "so they do not share their ids: set `encoder.tokenizer` to 'own'"
    small = save_encoder(tmp_path / "small", vocab_size=8)
    with pytest.raises(ValueError, match=f"has 11 tokens, the encoder .* 8, {says}"):
        encoder_model(encoder=small).encode_latents(tokens)
    other = save_encoder(tmp_path / "other", tokenizer=letters("ihgfedcba"))
    model = encoder_model(encoder=other)
    model.encode_latents(tokens)  # nobody told it the model's tokenizer
    model.set_tokenizer(letters("abcdefghi"))
    with pytest.raises(ValueError, match=f"The model's tokenizer has '[a-i]' as id [1-9], .* {says}"):
        model.encode_latents(tokens)
    same = encoder_model(encoder=save_encoder(tmp_path / "same", tokenizer=letters("abcdefghi")))
    same.set_tokenizer(letters("abcdefghi"))
    same.encode_latents(tokens)
