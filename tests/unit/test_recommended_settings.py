"""`LaddConfig.recommended` and `Stage.recommended`: what their settings follow, and what they refuse."""

from __future__ import annotations

import math

import pytest

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddTrainingArguments, Stage
from ladd_hf.data import byte_level_bpe, character_tokenizer
from ladd_hf.models.chunks import Chunks

CHARACTERS = character_tokenizer()
TYPES = ("none", "continuous", "discrete")


def count_of(config):
    """The number of codes, or of anchors."""
    return config.codebook_size or config.latent_prediction.count


@pytest.mark.parametrize("kind", TYPES[1:])
@pytest.mark.parametrize("length", [1, 2, 3, 7, 30, 64, 127, 128, 1024])
def test_latents_follow_the_length(length, kind):
    config = LaddConfig.recommended(CHARACTERS, kind, length)
    assert config.max_position_embeddings == length
    assert 1 <= config.latent_length <= length
    chunk = Chunks(config.latent_length, length).size
    assert chunk <= 8
    if any(length % size == 0 for size in range(4, 9)):
        assert length % config.latent_length == 0, "all chunks are as large"
    assert (config.latent_pooling, config.latent_unpooling) == ("chunk", "chunk")


def test_larger_vocabularies_have_shorter_chunks():
    tokenizer = byte_level_bpe(["some words"], vocab_size=259)
    assert LaddConfig.recommended(tokenizer, "discrete", 64).latent_length == 32
    assert LaddConfig.recommended(CHARACTERS, "discrete", 64).latent_length == 16


@pytest.mark.parametrize("kind", TYPES[1:])
def test_codes_follow_the_size_of_the_corpus_and_the_chunks_there_are(kind):
    of = [count_of(LaddConfig.recommended(CHARACTERS, kind, 64, num_tokens=4**power)) for power in range(14)]
    assert of == sorted(of) and of[0] == 2 and of[-1] == 4096
    assert all(math.log2(one).is_integer() for one in of)
    chunks = [4**power // 4 for power in range(14)]
    assert all(one == 2 or number / one >= 64 for one, number in zip(of, chunks, strict=True))
    binary = LaddConfig.recommended({"vocab_size": 3}, kind, 32)
    assert count_of(binary) == 2**4, "no more than there are groups of four bits"
    assert count_of(LaddConfig.recommended({"vocab_size": 3}, kind, 32, latent_length=16)) == 2**2


@pytest.mark.parametrize("kind", TYPES[1:])
def test_the_rest_follows_what_is_replaced(kind):
    two_layers = LaddConfig.recommended(CHARACTERS, kind, 64, encoder={"num_hidden_layers": 2})
    assert (two_layers.encoder_options.readout, two_layers.encoder_options.num_hidden_layers) == ("chunk_mlp", 2)
    alone = LaddConfig.recommended(CHARACTERS, kind, 64, latent_denoiser="separate")
    assert alone.separate_latent_denoiser and alone.latent_pooling == "none"
    of_text = LaddConfig.recommended(CHARACTERS, kind, 64, global_latents=2)
    assert of_text.latent_length == 18 and count_of(of_text) == count_of(LaddConfig.recommended(CHARACTERS, kind, 64))


def test_the_vocabulary_is_the_tokenizers():
    config = LaddConfig.recommended(CHARACTERS, "none", 64)
    assert (config.vocab_size, config.mask_token_id, config.pad_token_id) == (29, 28, 27)
    told = LaddConfig.recommended({"vocab_size": 29, "mask_token_id": 28, "pad_token_id": 27}, "none", 64)
    assert told.to_dict() == config.to_dict()


@pytest.mark.parametrize("kind", TYPES)
def test_models_are_built_and_settings_can_be_replaced(kind):
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "cond_hidden_size": 8}
    config = LaddConfig.recommended(CHARACTERS, kind, 16, num_tokens=1000, **small)
    assert LaddForDiffusionLM(config).config.hidden_size == 16
    assert LaddConfig.recommended(CHARACTERS, kind, 16, size="XXS").hidden_size == 32
    assert LaddConfig.recommended(CHARACTERS, kind, 16, size="XXS", hidden_size=64).hidden_size == 64


def test_another_quantiser_or_prediction_replaces_the_recommended_one():
    scalar = {"name": "finite_scalar", "levels": [8, 8]}
    assert LaddConfig.recommended(CHARACTERS, "discrete", 64, quantizer=scalar).codebook_size == 64
    config = LaddConfig.recommended(CHARACTERS, "continuous", 64, latent_prediction_type="sample")
    assert config.latent_output_size == config.latent_dim


@pytest.mark.parametrize(
    "arguments, says",
    [
        ((None, "discrete", 64), "`tokenizer` is None; give one of transformers'"),
        (({"mask_token_id": 1}, "discrete", 64), "without `vocab_size`"),
        (({"vocab_size": 0}, "discrete", 64), "`vocab_size` is 0"),
        ((CHARACTERS, "codes", 64), "`latent_type` is 'codes'; give one of 'none', 'continuous', 'discrete'"),
        ((CHARACTERS, ["none"], 64), "`latent_type` is a list"),
        ((CHARACTERS, "discrete", 0), "`length` is 0"),
        ((CHARACTERS, "discrete", 64.0), r"`length` is 64\.0"),
        ((CHARACTERS, "discrete", 64, 0), "`num_tokens` is 0"),
        ((CHARACTERS, "discrete", 64, None, "XXXL"), "Size 'XXXL' is unknown"),
    ],
)
def test_each_argument_is_checked(arguments, says):
    with pytest.raises(ValueError, match=says):
        LaddConfig.recommended(*arguments)


def test_a_tokenizer_needs_a_mask_token_and_latents_a_place():
    tokenizer = character_tokenizer("abc")
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match="has no mask token"):
        LaddConfig.recommended(tokenizer, "none", 8)
    with pytest.raises(ValueError, match="`latent_length` is 0"):
        LaddConfig.recommended(CHARACTERS, "discrete", 8, latent_length=0)
    with pytest.raises(ValueError, match="`latent_length` 9"):
        LaddConfig.recommended(CHARACTERS, "discrete", 8, latent_length=9)


PRETRAINED = {"name": "pretrained", "name_or_path": "some/encoder"}


@pytest.mark.parametrize(
    "kind, settings, names",
    [
        ("none", {}, []),
        ("discrete", {}, ["mdlm", "encoder", "prior"]),
        ("continuous", {}, ["mdlm", "encoder", "prior"]),
        ("discrete", {"encoder": PRETRAINED}, ["mdlm", "encoder", "prior"]),
        ("continuous", {"encoder": PRETRAINED}, ["mdlm", "prior"]),
        ("continuous", {"encoder": {**PRETRAINED, "projection": "learned"}}, ["mdlm", "encoder", "prior"]),
        ("continuous", {"encoder": {**PRETRAINED, "trained": True}}, ["mdlm", "encoder", "prior"]),
    ],
)
def test_stages_are_those_that_have_something_to_learn(kind, settings, names):
    config = LaddConfig.recommended(CHARACTERS, kind, 64, **settings)
    assert [stage.name for stage in Stage.recommended(config, 3000)] == names


@pytest.mark.parametrize("steps", [3, 4, 10, 100, 600, 900, 3000, 100_000])
@pytest.mark.parametrize("kind", TYPES[1:])
def test_stages_fill_a_run_of_any_length(steps, kind, tmp_path):
    stages = Stage.recommended(LaddConfig.recommended(CHARACTERS, kind, 64), steps)
    plan = LaddTrainingArguments(str(tmp_path), max_steps=steps, stages=stages).stage_plan
    lengths = dict(plan.lengths())
    assert sum(lengths.values()) == steps and min(lengths.values()) >= 1
    assert lengths["prior"] >= lengths["mdlm"] and lengths["encoder"] >= min(300, steps // 3)
    assert [one.fully_masked_share for one in plan.objectives()] == [0, 0.6, 0.75]
    assert [one.quantizer_dropout for one in plan.objectives()] == [0, 0.5 * (kind == "discrete"), 0]


@pytest.mark.parametrize(
    "config, steps, says",
    [
        (None, 100, "`config` is None; give a `LaddConfig`"),
        (
            LaddConfig.recommended(CHARACTERS, "discrete", 8),
            2,
            "`max_steps` is 2; give a number of steps of at least 3",
        ),
        (LaddConfig.recommended(CHARACTERS, "none", 8), "100", "`max_steps` is '100'"),
    ],
)
def test_each_argument_of_stages_is_checked(config, steps, says):
    with pytest.raises(ValueError, match=says):
        Stage.recommended(config, steps)
