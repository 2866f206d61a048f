"""Latents from any pretrained network: one that is fixed is no part of the model, one that is trained is."""

from __future__ import annotations

import copy
import json
import pickle
import re
import shutil

import datasets
import pytest
import torch
from helpers.encoders import ENCODERS, build_encoder, byte_pairs, letters, save_encoder, word_pieces
from helpers.training import texts
from peft import LoraConfig
from safetensors import safe_open

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddPipeline, RowGenerator
from ladd_hf.adapters import learnable_names
from ladd_hf.data import token_blocks
from ladd_hf.latent_encoder import check_lengths
from ladd_hf.pretrained_encoder import PretrainedEncoder, check_pretrained_encoder

LENGTHS = torch.tensor([12, 9, 6, 5, 4])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder for each kind of encoder with a vocabulary of 11, and its name."""
    root = tmp_path_factory.mktemp("encoders")
    return {kind: save_encoder(root / kind, kind) for kind in ENCODERS}


@pytest.fixture
def make_model(tiny_model, folders):
    """`make_model(kind="continuous", encoder="bert", **overrides)`."""
    return lambda kind="continuous", encoder="bert", **overrides: tiny_model(
        kind, **{"encoder_name_or_path": folders.get(encoder, encoder), **overrides}
    )


def some_tokens(rows=5):
    return torch.randint(1, 10, (rows, 12))


def padding_mask(side="right"):
    mask = (torch.arange(12) < LENGTHS[:, None]).long()
    return mask if side == "right" else mask.flip(1)


def is_loaded(model):
    return model.encoder.pretrained.network is not None


# --- what the latents are ---


@pytest.mark.parametrize("encoder", ENCODERS)
def test_latents_are_the_pooled_states_cut_to_their_size(encoder, make_model):
    tokens = some_tokens()
    with torch.no_grad():
        states = build_encoder(encoder)(input_ids=tokens).last_hidden_state
    latents = make_model(encoder=encoder).encode_latents(tokens)
    torch.testing.assert_close(latents, states.unflatten(1, (4, 3)).mean(2)[..., :3])
    whole = make_model(encoder=encoder, encoder_pooling="mean", latent_length=1, latent_dim=16)
    torch.testing.assert_close(whole.encode_latents(tokens), states.mean(1, keepdim=True))
    last = make_model(encoder=encoder, encoder_pooling="last_token", latent_length=1, latent_dim=16)
    torch.testing.assert_close(last.encode_latents(tokens), states[:, -1:])
    layer = make_model(encoder=encoder, encoder_pooling="last_layer", latent_length=12, latent_dim=16)
    torch.testing.assert_close(layer.encode_latents(tokens), states)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pooling", ["adaptive_chunk_mean", "adaptive_chunk_mean_eos", "mean", "last_token"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_padded_row_has_the_latents_of_the_shorter_row_alone(encoder, pooling, side, make_model):
    latent_length = 4 if "chunk" in pooling else 1
    model = make_model(encoder=encoder, encoder_pooling=pooling, latent_length=latent_length, latent_dim=16)
    tokens, mask = some_tokens(), padding_mask(side)
    together = model.encode_latents(tokens, mask)
    for row in range(len(tokens)):
        alone = model.encode_latents(tokens[row][mask[row].bool()][None])
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)
    refilled = torch.where(mask.bool(), tokens, 0)
    assert torch.equal(model.encode_latents(refilled, mask), together)


def test_an_encoder_decoder_is_its_first_half_be_it_saved_whole_or_alone(make_model, tmp_path):
    whole, tokens = build_encoder("whole_t5"), some_tokens()
    whole.save_pretrained(tmp_path / "whole")
    alone = build_encoder("t5")
    alone.load_state_dict(whole.state_dict(), strict=False)
    alone.save_pretrained(tmp_path / "alone")
    with torch.no_grad():
        states = whole.get_encoder()(input_ids=tokens).last_hidden_state
    for name in ("whole", "alone"):
        model = make_model(encoder=str(tmp_path / name), encoder_pooling="last_token", latent_length=1, latent_dim=16)
        torch.testing.assert_close(model.encode_latents(tokens), states[:, -1:])
        trained = make_model(encoder=str(tmp_path / name), encoder_trained=True)
        assert not any("decoder" in weight for weight in trained.encoder.state_dict())
    weights = {name: weight for name, weight in whole.state_dict().items() if not name.startswith("encoder.block.1")}
    whole.save_pretrained(tmp_path / "part", state_dict=weights)
    with pytest.raises(ValueError, match=r"lacks weights \(encoder.block.1"):
        make_model(encoder=str(tmp_path / "part")).encode_latents(tokens)


@pytest.mark.parametrize("kind, length", [("l2", 3**0.5), ("unit", 1.0)])
@pytest.mark.parametrize("projection", ["cut", "learned"])
def test_normalised_latents_have_their_length(projection, kind, length, make_model):
    model = make_model(latent_normalization=kind, encoder_projection=projection)
    norms = model.encode_latents(some_tokens()).norm(dim=-1)
    torch.testing.assert_close(norms, torch.full_like(norms, length))


def test_a_fixed_variance_is_drawn_around_the_pooled_states(make_model):
    model, tokens = make_model(encoder_variance="fixed", encoder_std=0.3), some_tokens(1).expand(2000, -1)
    mean = model.encode(tokens[:1]).vectors
    drawn = model.encode(tokens, None, RowGenerator(torch.arange(2000))).vectors
    assert abs(((drawn - mean) / 0.3).std() - 1) < 0.03
    assert torch.equal(mean, make_model().encode(tokens[:1]).vectors)


def test_a_sentence_encoder_is_read_from_its_folder(tmp_path, make_model):
    folder = tmp_path / "sentences"
    name = save_encoder(folder, "bert", word_pieces(["abc def"], vocab_size=11))
    modules = [{"idx": i, "name": str(i), "path": p, "type": "x"} for i, p in enumerate(["", "1_Pooling"])]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    tokens = some_tokens()
    assert torch.equal(make_model(encoder=name).encode_latents(tokens), make_model().encode_latents(tokens))


def test_hidden_tokens_leave_no_trace(make_model, tmp_path):
    tokens = some_tokens()
    hidden = torch.rand(tokens.shape) < 0.4
    other = torch.where(hidden, tokens % 9 + 1, tokens)
    alone = save_encoder(tmp_path / "alone")
    with_tokenizer = save_encoder(tmp_path / "with", tokenizer=letters("abcdefghi"))
    for name, read_as in ((alone, 0), (with_tokenizer, 10)):
        model = make_model(encoder=name)
        seen, other_seen = (model.encode_latents(torch.where(hidden, 10, one)) for one in (tokens, other))
        assert torch.equal(seen, other_seen)
        assert not torch.allclose(model.encode_latents(tokens), model.encode_latents(other), atol=1e-3)
        states = build_encoder("bert")(torch.where(hidden, read_as, tokens)).last_hidden_state
        torch.testing.assert_close(seen, states.unflatten(1, (4, 3)).mean(2)[..., :3], msg=name)


# --- a fixed encoder is no part of the model ---


@pytest.mark.parametrize("kind", ["continuous", "separate", "discrete", "vector", "gumbel"])
def test_a_fixed_encoder_is_seen_by_nobody(kind, make_model):
    model = make_model(kind)
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
def test_generating_needs_no_encoder_and_encoding_says_what_it_lacks(kind, make_model, tmp_path):
    name = save_encoder(tmp_path / "encoder")
    model = make_model(kind, encoder=name, latent_standardization=True, codebook_kmeans_init=False)
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
    with pytest.raises(OSError, match=r"encoder '.*encoder' can not be loaded.*Generating needs no encoder") as error:
        pipe.model.encode_latents(tokens)
    assert "\n" not in str(error.value)


def test_it_stays_in_evaluation_mode_and_gets_no_gradient(make_model, tmp_path):
    name = save_encoder(tmp_path / "encoder", hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    model, tokens = make_model(encoder=name).train(), some_tokens()
    one, two = (model.encode(tokens).vectors for _ in range(2))
    assert torch.equal(one, two) and not one.requires_grad
    model(input_ids=tokens, labels=tokens).loss.backward()
    network = model.encoder.pretrained.network
    assert not network.training and all(weight.grad is None for weight in network.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_it_runs_in_the_models_dtype_but_statistics_stay_whole(dtype, make_model, tmp_path):
    model, tokens = make_model(latent_standardization=True), some_tokens()
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


def test_what_is_compiled_calls_it_as_it_is(make_model):
    model, tokens, mask = make_model(encoder_projection="learned"), some_tokens(), padding_mask()
    compiled = torch.compile(lambda *inputs: model.encode(*inputs).vectors * 2, backend="eager")
    torch.testing.assert_close(compiled(tokens, mask), model.encode(tokens, mask).vectors * 2)
    assert is_loaded(model)


# --- projection and quantiser on top of it ---


def test_a_learned_projection_is_trained_and_saved(make_model, tmp_path):
    model, tokens = make_model(encoder_projection="learned", latent_dim=24), some_tokens()
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


def test_codes_of_fixed_features_come_alive(make_model, make_trainer):
    model = make_model("vector", latent_standardization=True, latent_dim=8)
    trainer = make_trainer(model, max_steps=4, time_distribution="joint")
    trainer.train()
    assert len(model.encode_latents(some_tokens(64)).unique()) > 4


def test_beside_adapters_the_projection_is_adapted_and_the_encoder_is_left_alone(make_model, tmp_path):
    model, tokens = make_model(encoder_projection="learned"), some_tokens()
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


def test_what_is_pushed_takes_the_code_along(make_model, tmp_path):
    model = make_model()
    with model.code_included():
        model.save_pretrained(tmp_path)
    files = {file.name for file in tmp_path.iterdir()}
    assert {"pretrained_encoder.py", "poolings.py", "text_alignment.py", "model.safetensors"} <= files


# --- standardised latents ---


@pytest.mark.parametrize("normalization", ["none", "l2"])
def test_standardised_latents_have_mean_0_and_variance_1_in_each_dimension(normalization, make_model):
    model = make_model(latent_standardization=True, latent_normalization=normalization)
    data = texts(rows=100)
    assert model.gather_latent_statistics(data) == 400
    latents = model.encode_latents(torch.stack([one["input_ids"] for one in data])).flatten(0, 1)
    torch.testing.assert_close(latents.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(latents.var(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_before_a_learned_projection_the_states_are_standardised(make_model):
    model = make_model(latent_standardization=True, encoder_projection="learned")
    model.gather_latent_statistics(texts())
    assert model.encoder.statistics.mean.shape == (16,)
    tokens = torch.stack([one["input_ids"] for one in texts()])
    standard = model.encoder.statistics(model.encoder.features(tokens)).flatten(0, 1)
    torch.testing.assert_close(standard.var(0, correction=0), torch.ones(16), atol=1e-4, rtol=0)
    assert torch.equal(model.encode_latents(tokens), model.encoder.projection(standard.view(64, 4, 16)))


def test_statistics_do_not_depend_on_how_the_texts_are_batched(make_model):
    data = [{"input_ids": one["input_ids"][: 12 - i % 5].tolist()} for i, one in enumerate(texts(rows=70))]
    batches = [{"input_ids": torch.tensor(one["input_ids"])[None]} for one in data[::-1]]
    found = []
    for source in (data, batches, iter(data)):
        model = make_model(latent_standardization=True)
        model.gather_latent_statistics(source)
        found.append(torch.cat([model.encoder.statistics.mean, model.encoder.statistics.std]))
    torch.testing.assert_close(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_no_more_texts_are_looked_at_than_asked_for(make_model):
    model = make_model(latent_standardization=True)
    assert model.gather_latent_statistics(texts(rows=70), num_examples=65) == 65 * 4


def test_a_dimension_that_never_changes_keeps_its_scale(make_model):
    model = make_model(latent_standardization=True)
    features = torch.randn(50, 4, 3) + 1e4
    features[..., 1] = 7.0
    model.encoder.statistics.gather([features[:20], features[20:]])
    assert model.encoder.statistics.std[1] == 1 and model.encoder.statistics.mean[1] == 7
    torch.testing.assert_close(model.encoder.statistics.std[0], features[..., 0].double().std(correction=0).float())


def test_the_trainer_gathers_statistics_where_there_are_none(make_model, make_trainer):
    model = make_model(latent_standardization=True)
    data = texts()
    make_trainer(model, "one", data=data, max_steps=1).train()
    expected = make_model(latent_standardization=True)
    expected.gather_latent_statistics(data)
    assert torch.equal(model.encoder.statistics.mean, expected.encoder.statistics.mean)
    make_trainer(model, "two", data=texts(seed=1), max_steps=1).train()
    assert torch.equal(model.encoder.statistics.mean, expected.encoder.statistics.mean), "once"
    init = {"trainer_options": {"model_init": lambda: make_model(latent_standardization=True)}}
    trainer = make_trainer(None, "three", data=data, max_steps=1, **init)
    trainer.train()
    assert torch.equal(trainer.model.encoder.statistics.mean, expected.encoder.statistics.mean)


def test_the_trainer_tells_the_encoder_the_tokenizer(make_model, make_trainer, tmp_path):
    own = word_pieces(["abc def ghi"], vocab_size=30)
    name = save_encoder(tmp_path / "encoder", "bert", own, vocab_size=len(own))
    for number, init in enumerate((False, True)):
        made = lambda: make_model(encoder=name, encoder_tokenizer="own", latent_standardization=True)  # noqa: E731
        options = {"processing_class": letters("abcdefghi"), **({"model_init": made} if init else {})}
        trainer = make_trainer(None if init else made(), f"run {number}", max_steps=1, trainer_options=options)
        trainer.train()
        assert trainer.model.encoder.model_tokenizer is options["processing_class"]


def test_a_stream_that_stands_in_its_middle_stays_there(make_model):
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
    make_model(latent_standardization=True).gather_latent_statistics(again, num_examples=20)
    assert [row["input_ids"].tolist() for row in again] == [row["input_ids"].tolist() for row in read]


def test_missing_statistics_are_missed(make_model):
    model = make_model(latent_standardization=True)
    with pytest.raises(ValueError, match=r"by no statistics yet: call `model.gather_latent_statistics"):
        model.encode_latents(some_tokens())
    with pytest.raises(ValueError, match=r"at least 2 of them, but there are 0"):
        model.gather_latent_statistics([])
    with pytest.raises(ValueError, match=r"have the columns 'text', and no `input_ids`: tokenize"):
        model.gather_latent_statistics([{"text": "a"}])
    for other in (make_model(), make_model(encoder_name_or_path=None)):
        with pytest.raises(ValueError, match=r"standardises no latents"):
            other.gather_latent_statistics(texts())


# --- an encoder that is trained ---


@pytest.mark.parametrize("encoder", ["bert", "qwen3"])
def test_a_trained_encoder_starts_pretrained_and_is_a_part_like_any_other(encoder, make_model, tmp_path):
    name = save_encoder(tmp_path / "encoder", encoder)
    model, fixed = make_model(encoder=name, encoder_trained=True), make_model(encoder=encoder)
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
    with pytest.raises(ValueError, match=r"can not be had beforehand"):
        model.encode(tokens, precomputed_latents=torch.zeros(5, 4, 3))


def test_a_trained_encoder_that_was_never_asked_still_knows_what_hidden_tokens_are(make_model, tmp_path):
    name = save_encoder(tmp_path / "encoder", tokenizer=letters("abcdefghi"))
    make_model(encoder=name, encoder_trained=True).save_pretrained(tmp_path / "model")
    shutil.rmtree(name)
    again = LaddForDiffusionLM.from_pretrained(tmp_path / "model")
    again.encode_latents(some_tokens())
    assert again.config.encoder_mask_token_id == 10


def test_a_second_model_of_one_configuration_starts_pretrained_too(make_model, tiny_config, folders):
    config = tiny_config("continuous", encoder_name_or_path=folders["bert"], encoder_trained=True)
    one, two = LaddForDiffusionLM(config), LaddForDiffusionLM(config)
    tokens = some_tokens()
    assert torch.equal(one.eval().encode_latents(tokens), two.eval().encode_latents(tokens))
    torch.testing.assert_close(one.encode_latents(tokens), make_model().encode_latents(tokens))


def test_a_model_on_the_meta_device_fetches_no_weights(tiny_config):
    config = tiny_config("continuous", encoder_name_or_path="nowhere/at-all")
    with torch.device("meta"):
        model = LaddForDiffusionLM(config)
    assert not is_loaded(model)


# --- whose tokens ---


def test_an_encoder_with_its_own_tokenizer_needs_the_models(make_model, tmp_path):
    own = word_pieces(["abc def ghi"], vocab_size=30)
    name = save_encoder(tmp_path / "encoder", "bert", own, vocab_size=len(own))
    model, tokens = make_model(encoder=name, encoder_tokenizer="own"), some_tokens()
    with pytest.raises(ValueError, match=r"give the model its tokenizer by `model.set_tokenizer"):
        model.encode_latents(tokens)
    tokenizer = letters("abcdefghi")
    model.set_tokenizer(tokenizer)
    mask = padding_mask("left")
    latents = model.encode_latents(tokens, mask)
    row = own(tokenizer.decode(tokens[1, 3:]), return_tensors="pt")
    states = build_encoder("bert", len(own))(row["input_ids"]).last_hidden_state
    mean = make_model(encoder=name, encoder_tokenizer="own", encoder_pooling="mean", latent_length=1)
    pipe = LaddPipeline(mean, tokenizer=tokenizer)  # which tells the model
    torch.testing.assert_close(pipe.encode([tokens[1, 3:].tolist()]), states.mean(1, keepdim=True)[..., :3])
    refilled = torch.where(mask.bool(), tokens, 0)
    assert torch.equal(model.encode_latents(refilled, mask), latents)


def test_vocabularies_that_are_not_shared_are_told_apart(make_model, tmp_path):
    tokens, says = some_tokens(), "so they do not share their ids: set `encoder_tokenizer` to 'own'"
    small = save_encoder(tmp_path / "small", vocab_size=8)
    with pytest.raises(ValueError, match=f"has 11 tokens, the encoder .* 8, {says}"):
        make_model(encoder=small).encode_latents(tokens)
    other = save_encoder(tmp_path / "other", tokenizer=letters("ihgfedcba"))
    model = make_model(encoder=other)
    model.encode_latents(tokens)  # nobody told it the model's tokenizer
    model.set_tokenizer(letters("abcdefghi"))
    with pytest.raises(ValueError, match=f"The model's tokenizer has '[a-i]' as id [1-9], .* {says}"):
        model.encode_latents(tokens)
    same = make_model(encoder=save_encoder(tmp_path / "same", tokenizer=letters("abcdefghi")))
    same.set_tokenizer(letters("abcdefghi"))
    same.encode_latents(tokens)


# --- encoders and texts that do not fit ---


def test_a_text_with_fewer_tokens_than_latents_is_refused(make_model):
    model = make_model()
    with pytest.raises(ValueError, match=r"A text has 3 tokens, fewer than `latent_length` \(4\)"):
        model.encode_latents(some_tokens()[:, :3])
    mask = (torch.arange(12) < torch.tensor([12, 9, 6, 5, 3])[:, None]).long()
    with pytest.raises(ValueError, match=r"A text has 3 tokens, fewer than"):
        model.encode_latents(some_tokens(), mask)


def test_texts_on_an_accelerator_are_looked_at_only_where_that_may_take_its_time(make_model):
    tokens, mask = (torch.zeros(2, 12, dtype=torch.int64, device="meta") for _ in range(2))
    config = make_model().config
    check_lengths(config, tokens, mask)  # no tensor without data can be looked at
    with pytest.raises(RuntimeError):
        check_lengths(config, tokens, mask, wait=True)
    with pytest.raises(ValueError, match=r"A text has 3 tokens, fewer than"):
        check_lengths(config, tokens[:, :3])


@pytest.mark.parametrize("options", [{}, {"encoder_trained": True}])
def test_states_too_small_for_the_latents_are_refused(options, make_model):
    with pytest.raises(ValueError, match=r"states of size 16, from which `latent_dim` 17 can not be cut"):
        make_model(latent_dim=17, **options).encode_latents(some_tokens())


def test_states_of_another_size_than_configured_are_refused(make_model):
    model = make_model(encoder_projection="learned", encoder_hidden_size=24)
    with pytest.raises(ValueError, match=r"states of size 16, but `encoder_hidden_size` is 24"):
        model.encode_latents(some_tokens())


def test_texts_longer_than_the_encoder_reads_are_refused(make_model, tmp_path):
    short = save_encoder(tmp_path / "short", max_position_embeddings=8)
    with pytest.raises(ValueError, match=r"has 12 tokens of the encoder .*, which reads up to 8"):
        make_model(encoder=short).encode_latents(some_tokens())


def test_where_padding_has_a_position_of_its_own_texts_are_shorter_by_those_before_them(make_model, tmp_path):
    sizes = {"max_position_embeddings": 14, "pad_token_id": 1}
    model = make_model(encoder=save_encoder(tmp_path / "encoder", "roberta", **sizes))
    assert model.encode_latents(some_tokens()).shape == (5, 4, 3)
    longer = torch.randint(2, 10, (1, 13))
    with pytest.raises(ValueError, match=r"has 13 tokens of the encoder .*, which reads up to 12"):
        model.encode_latents(longer)
    with pytest.raises((IndexError, RuntimeError), match=r"out of (bounds|range)"):
        build_encoder("roberta", **sizes)(longer)


def test_an_encoder_without_the_ids_of_its_tokenizer_is_refused(make_model, tmp_path):
    own = word_pieces(["abc def ghi"], vocab_size=30)
    for size, fits in ((len(own), True), (len(own) - 1, False)):
        name = save_encoder(tmp_path / str(size), "bert", own, vocab_size=size)
        model = make_model(encoder=name, encoder_tokenizer="own")
        model.set_tokenizer(letters("abcdefghi"))
        if fits:
            assert model.encode_latents(some_tokens()).shape == (5, 4, 3)
        else:
            with pytest.raises(ValueError, match=f"has '.*' as id {size}, but the encoder has {size} tokens"):
                model.encode_latents(some_tokens())


def test_an_encoder_that_lacks_weights_is_refused(make_model, tmp_path):
    network = build_encoder("bert")
    weights = {k: v for k, v in network.state_dict().items() if "layer.1" not in k}
    network.save_pretrained(tmp_path / "part", state_dict=weights)
    with pytest.raises(ValueError, match=r"encoder '.*part' lacks weights \(encoder.layer.1"):
        make_model(encoder=str(tmp_path / "part")).encode_latents(some_tokens())


def test_an_encoder_that_is_nowhere_is_named(make_model, tmp_path):
    with pytest.raises(OSError, match=r"configuration of the encoder '.*missing' can not be loaded"):
        make_model(encoder=str(tmp_path / "missing"), encoder_projection="learned")


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
def test_what_is_no_whole_encoder_is_told_in_one_sentence(kind, make_model, tmp_path):
    name = damaged(tmp_path / "encoder", kind)
    with pytest.raises(
        OSError, match=f"of the encoder '{re.escape(name)}' can not be loaded .*give the folder"
    ) as error:
        make_model(encoder=name).encode_latents(some_tokens())
    assert "\n" not in str(error.value) and error.value.__cause__ is not None
    assert (kind == "gone") == ("there is no such folder" in str(error.value))


def test_its_own_tokens_need_its_tokenizer(make_model):
    model = make_model(encoder_tokenizer="own")
    model.set_tokenizer(byte_pairs(["abc"]))
    with pytest.raises(ValueError, match=r"'own', but .* comes without a tokenizer"):
        model.encode_latents(some_tokens())


def test_it_can_be_let_go_of_and_comes_back(make_model):
    model, tokens = make_model(), some_tokens()
    latents = model.encode_latents(tokens)
    assert isinstance(model.encoder, PretrainedEncoder)
    model.encoder.unload()
    assert not is_loaded(model)
    assert torch.equal(model.encode_latents(tokens), latents)


def test_the_configuration_of_a_trained_encoder_survives_a_file(tiny_config, folders, tmp_path):
    config = tiny_config("continuous", encoder_name_or_path=folders["qwen3"], encoder_trained=True)
    LaddForDiffusionLM(config)
    config.save_pretrained(tmp_path)
    again = LaddConfig.from_pretrained(tmp_path)
    assert again.encoder_config == config.encoder_config and again.encoder_config["model_type"] == "qwen3"
    assert again.encoder_hidden_size == 16


# --- before there is a model ---


@pytest.fixture
def make_config(tiny_config):
    return lambda name, **overrides: tiny_config("continuous", encoder_name_or_path=name, **overrides)


def test_what_can_not_encode_is_found_without_its_weights(make_config, tmp_path):
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
        make_config(None),
    ):
        before = config.to_dict()
        check_pretrained_encoder(config, tokenizer, 12)
        assert config.to_dict() == before
    for config, says in (
        (make_config(shared, latent_dim=17), "from which `latent_dim` 17 can not be cut"),
        (make_config(with_own), "so they do not share their ids"),
        (make_config(alone, encoder_tokenizer="own"), "comes without a tokenizer"),
        (make_config(short), "has 12 tokens of the encoder .*, which reads up to 8"),
        (make_config(small, encoder_tokenizer="own"), "but the encoder has"),
        (make_config(str(tmp_path / "missing")), "can not be loaded"),
    ):
        with pytest.raises((ValueError, OSError), match=says):
            check_pretrained_encoder(config, tokenizer, 12)
    with pytest.raises(ValueError, match="give the model its tokenizer"):
        check_pretrained_encoder(make_config(with_own, encoder_tokenizer="own"))
    check_pretrained_encoder(make_config(short), tokenizer, 8)


def test_a_trainer_is_not_made_with_an_encoder_that_can_not_encode(make_model, make_trainer, tmp_path):
    missing = make_model(encoder=str(tmp_path / "missing"))
    with pytest.raises(OSError, match="can not be loaded"):
        make_trainer(missing)
    with pytest.raises(OSError, match="can not be loaded"):
        make_trainer(None, trainer_options={"model_init": lambda: missing})
    stored = [{**row, "precomputed_latents": torch.zeros(12)} for row in texts()]
    make_trainer(missing, data=stored, eval_data={"one": stored})
    with pytest.raises(OSError, match="can not be loaded"):
        make_trainer(missing, data=stored, eval_data={"one": stored, "other": texts()})
    fitting = make_model()
    make_trainer(fitting)
    assert not is_loaded(fitting)
