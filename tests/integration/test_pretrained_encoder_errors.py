"""Encoders and texts that do not fit are refused in a sentence, before anything is trained where that can be."""

from __future__ import annotations

import json
import re

import pytest
import torch
from helpers.encoders import build_encoder, byte_pairs, is_loaded, letters, save_encoder, some_tokens, word_pieces
from helpers.training import texts

from ladd_hf import LaddConfig, LaddForDiffusionLM
from ladd_hf.models.encoders.pretrained import PretrainedEncoder, check_pretrained_encoder
from ladd_hf.models.encoders.trained import check_lengths


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def test_a_text_with_fewer_tokens_than_latents_is_refused(encoder_model):
    model = encoder_model()
    with pytest.raises(ValueError, match=r"A text has 3 tokens, fewer than `latent_length` \(4\)"):
        model.encode_latents(some_tokens()[:, :3])
    mask = (torch.arange(12) < torch.tensor([12, 9, 6, 5, 3])[:, None]).long()
    with pytest.raises(ValueError, match=r"A text has 3 tokens, fewer than"):
        model.encode_latents(some_tokens(), mask)


def test_texts_on_an_accelerator_are_looked_at_only_where_that_may_take_its_time(encoder_model):
    tokens, mask = (torch.zeros(2, 12, dtype=torch.int64, device="meta") for _ in range(2))
    config = encoder_model().config
    check_lengths(config, tokens, mask)  # no tensor without data can be looked at
    with pytest.raises(RuntimeError):
        check_lengths(config, tokens, mask, wait=True)
    with pytest.raises(ValueError, match=r"A text has 3 tokens, fewer than"):
        check_lengths(config, tokens[:, :3])


@pytest.mark.parametrize("options", [{}, {"encoder_trained": True}])
def test_states_too_small_for_the_latents_are_refused(options, encoder_model):
    with pytest.raises(ValueError, match=r"states of size 16, from which `latent_dim` 17 cannot be cut"):
        encoder_model(latent_dim=17, **options).encode_latents(some_tokens())


def test_noise_on_features_from_which_nothing_is_learnt_is_refused_before_training(encoder_model, make_trainer):
    said = r"\(`encoder_noise`\) is 0.5, and nothing is learnt from them"
    with pytest.raises(ValueError, match=said):
        make_trainer(encoder_model(), "cut", encoder_noise=0.5)
    stages = [{"name": "joint", "steps": 1}, {"name": "joint", "objective": {"encoder_noise": 0.5}}]
    with pytest.raises(ValueError, match=said):
        make_trainer(encoder_model(), "in a stage", stages=stages)
    make_trainer(encoder_model(encoder_projection="learned"), "learned", encoder_noise=0.5)
    make_trainer(encoder_model(), "unread", encoder_noise=0.5, tokens_alone=True)


def test_states_of_another_size_than_configured_are_refused(encoder_model):
    model = encoder_model(encoder_projection="learned", encoder_hidden_size=24)
    with pytest.raises(ValueError, match=r"states of size 16, but `encoder.hidden_size` is 24"):
        model.encode_latents(some_tokens())


def test_texts_longer_than_the_encoder_reads_are_refused(encoder_model, tmp_path):
    short = save_encoder(tmp_path / "short", max_position_embeddings=8)
    with pytest.raises(ValueError, match=r"has 12 tokens of the encoder .*, which reads up to 8"):
        encoder_model(encoder=short).encode_latents(some_tokens())


def test_where_padding_has_a_position_of_its_own_texts_are_shorter_by_those_before_them(encoder_model, tmp_path):
    sizes = {"max_position_embeddings": 14, "pad_token_id": 1}
    model = encoder_model(max_position_embeddings=13, encoder=save_encoder(tmp_path / "encoder", "roberta", **sizes))
    assert model.encode_latents(some_tokens()).shape == (5, 4, 3)
    longer = torch.randint(2, 10, (1, 13))
    with pytest.raises(ValueError, match=r"has 13 tokens of the encoder .*, which reads up to 12"):
        model.encode_latents(longer)
    with pytest.raises((IndexError, RuntimeError), match=r"out of (bounds|range)"):
        build_encoder("roberta", **sizes)(longer)


def test_an_encoder_without_the_ids_of_its_tokenizer_is_refused(encoder_model, tmp_path):
    own = word_pieces(["abc def ghi"], vocab_size=30)
    for size, fits in ((len(own), True), (len(own) - 1, False)):
        name = save_encoder(tmp_path / str(size), "bert", own, vocab_size=size)
        model = encoder_model(encoder=name, encoder_tokenizer="own")
        model.set_tokenizer(letters("abcdefghi"))
        if fits:
            assert model.encode_latents(some_tokens()).shape == (5, 4, 3)
        else:
            with pytest.raises(ValueError, match=f"has '.*' as id {size}, but the encoder has {size} tokens"):
                model.encode_latents(some_tokens())


def test_an_encoder_that_lacks_weights_is_refused(encoder_model, tmp_path):
    network = build_encoder("bert")
    weights = {k: v for k, v in network.state_dict().items() if "layer.1" not in k}
    network.save_pretrained(tmp_path / "part", state_dict=weights)
    with pytest.raises(ValueError, match=r"encoder '.*part' lacks weights \(encoder.layer.1"):
        encoder_model(encoder=str(tmp_path / "part")).encode_latents(some_tokens())


def test_an_encoder_that_is_nowhere_is_named(encoder_model, tmp_path):
    with pytest.raises(OSError, match=r"configuration of the encoder '.*missing' cannot be loaded"):
        encoder_model(encoder=str(tmp_path / "missing"), encoder_projection="learned")


def damaged(folder, kind):
    """A folder that is none of a whole encoder."""
    if kind == "nowhere":
        return "three/parts/long"
    if kind == "gone":
        return str(folder)
    folder.mkdir()
    if kind == "empty":
        return str(folder)
    save_encoder(folder)
    described = json.loads((folder / "config.json").read_text())
    if kind == "of another kind":
        (folder / "config.json").write_text(json.dumps({"model_type": "nonesuch"}))
    elif kind == "of other sizes":
        (folder / "config.json").write_text(json.dumps({**described, "intermediate_size": 48}))
    elif kind == "no network":
        (folder / "config.json").write_text("{")
    else:
        weights = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(weights[:1000] if kind == "cut off" else b"not these")
    return str(folder)


@pytest.mark.parametrize(
    "kind", ["nowhere", "gone", "empty", "of another kind", "of other sizes", "no network", "cut off", "?"]
)
def test_what_is_no_whole_encoder_is_told_in_one_sentence(kind, encoder_model, tmp_path):
    name = damaged(tmp_path / "encoder", kind)
    with pytest.raises(
        OSError, match=f"of the encoder '{re.escape(name)}' cannot be loaded .*give the folder"
    ) as error:
        encoder_model(encoder=name).encode_latents(some_tokens())
    assert "\n" not in str(error.value) and error.value.__cause__ is not None
    assert (kind == "gone") == ("there is no such folder" in str(error.value))


def test_its_own_tokens_need_its_tokenizer(encoder_model):
    model = encoder_model(encoder_tokenizer="own")
    model.set_tokenizer(byte_pairs(["abc"]))
    with pytest.raises(ValueError, match=r"'own', but .* comes without a tokenizer"):
        model.encode_latents(some_tokens())


def test_it_can_be_let_go_of_and_comes_back(encoder_model):
    model, tokens = encoder_model(), some_tokens()
    latents = model.encode_latents(tokens)
    assert isinstance(model.encoder, PretrainedEncoder)
    model.encoder.unload()
    assert not is_loaded(model)
    assert torch.equal(model.encode_latents(tokens), latents)


def test_the_configuration_of_a_trained_encoder_survives_a_file(tiny_config, encoder_folders, tmp_path):
    config = tiny_config("continuous", encoder_name_or_path=encoder_folders["qwen3"], encoder_trained=True)
    LaddForDiffusionLM(config)
    config.save_pretrained(tmp_path)
    again = LaddConfig.from_pretrained(tmp_path)
    assert again.encoder == config.encoder and again.encoder["config"]["model_type"] == "qwen3"
    assert again.encoder["hidden_size"] == 16


# --- before there is a model ---


@pytest.fixture
def make_config(tiny_config):
    return lambda name, **overrides: tiny_config("continuous", encoder_name_or_path=name, **overrides)


def test_what_can_not_encode_is_found_without_its_weights(make_config, tiny_config, tmp_path):
    tokenizer, own = letters("abcdefghi"), word_pieces(["abc def ghi"], vocab_size=30)
    shared = save_encoder(tmp_path / "shared", tokenizer=tokenizer)
    with_own = save_encoder(tmp_path / "own", "bert", own, vocab_size=len(own))
    alone = save_encoder(tmp_path / "alone")
    short = save_encoder(tmp_path / "short", max_position_embeddings=8)
    small = save_encoder(tmp_path / "small", "bert", own, vocab_size=len(own) - 1)
    for folder in tmp_path.iterdir():
        (folder / "model.safetensors").unlink()
    for config in (
        make_config(shared),
        make_config(shared, encoder_projection="learned", latent_dim=24),
        make_config(shared, encoder_trained=True),
        make_config(with_own, encoder_tokenizer="own"),
        tiny_config("continuous"),
    ):
        before = config.to_dict()
        check_pretrained_encoder(config, tokenizer, 12)
        assert config.to_dict() == before
    for config, says in (
        (make_config(shared, latent_dim=17), "from which `latent_dim` 17 cannot be cut"),
        (make_config(with_own), "so they do not share their ids"),
        (make_config(alone, encoder_tokenizer="own"), "comes without a tokenizer"),
        (make_config(short), "has 12 tokens of the encoder .*, which reads up to 8"),
        (make_config(small, encoder_tokenizer="own"), "but the encoder has"),
        (make_config(str(tmp_path / "missing")), "cannot be loaded"),
    ):
        with pytest.raises((ValueError, OSError), match=says):
            check_pretrained_encoder(config, tokenizer, 12)
    with pytest.raises(ValueError, match="give the model its tokenizer"):
        check_pretrained_encoder(make_config(with_own, encoder_tokenizer="own"))
    check_pretrained_encoder(make_config(short), tokenizer, 8)


def test_a_trainer_is_not_made_with_an_encoder_that_can_not_encode(encoder_model, make_trainer, tmp_path):
    missing = encoder_model(encoder=str(tmp_path / "missing"))
    with pytest.raises(OSError, match="cannot be loaded"):
        make_trainer(missing)
    with pytest.raises(OSError, match="cannot be loaded"):
        make_trainer(None, trainer_options={"model_init": lambda: missing})
    stored = [{**row, "precomputed_latents": torch.zeros(12)} for row in texts()]
    make_trainer(missing, data=stored, eval_data={"one": stored})
    with pytest.raises(OSError, match="cannot be loaded"):
        make_trainer(missing, data=stored, eval_data={"one": stored, "other": texts()})
    fitting = encoder_model()
    make_trainer(fitting)
    assert not is_loaded(fitting)
