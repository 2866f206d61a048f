"""A configuration says what the model is, builds from the few fields that matter, and refuses contradictions."""

from __future__ import annotations

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from ladd_hf import MODEL_SIZES, LaddConfig, LaddForDiffusionLM, LaddModel

SMALL = {
    "vocab_size": 7,
    "mask_token_id": 6,
    "pad_token_id": 0,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "cond_hidden_size": 4,
    "max_position_embeddings": 6,
}
LATENTS = {"latent_length": 2, "latent_dim": 3}
KINDS = {
    "none": {"latent_type": "none", "latent_length": 0, "latent_dim": 0, "codebook_size": 0},
    "continuous": {"latent_type": "continuous", **LATENTS, "codebook_size": 0},
    "discrete": {"latent_type": "discrete", **LATENTS, "codebook_size": 5},
}
PRETRAINED = KINDS["continuous"] | {"encoder_name_or_path": "some/encoder"}


# --- what builds ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_builds_from_the_twelve_fields_that_matter(kind):
    config = LaddConfig(**SMALL, **KINDS[kind])
    model = LaddForDiffusionLM(config)
    assert model.config.latent_type == kind
    assert model(torch.ones(1, 6, dtype=torch.long)).logits.shape == (1, 6, 7)


def test_the_mask_token_is_the_last_of_the_vocabulary_if_not_given():
    assert LaddConfig(vocab_size=30, hidden_size=8, num_attention_heads=2).mask_token_id == 29


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_given_follows_from_the_latent_type(kind):
    config = LaddConfig(**SMALL, **KINDS[kind])
    assert config.token_noise_schedule == "linear" and not config.token_time_conditioning
    assert config.latent_time_conditioning == (kind == "continuous")
    expected = {"none": None, "continuous": "sqrt", "discrete": "polynomial"}
    assert config.latent_noise_schedule == expected[kind]


def test_the_encoder_and_the_latent_denoiser_are_as_large_as_the_denoiser_unless_told_otherwise():
    config = LaddConfig(**SMALL, **KINDS["continuous"])
    assert config.encoder_hidden_size == 8 and config.encoder_num_attention_heads == 2
    assert config.encoder_num_hidden_layers == 1 and config.latent_denoiser_num_layers == 1
    config = LaddConfig(
        **SMALL,
        **KINDS["continuous"],
        encoder_hidden_size=12,
        encoder_num_hidden_layers=3,
        encoder_num_attention_heads=3,
        separate_latent_denoiser=True,
        latent_denoiser_num_layers=2,
    )
    model = LaddForDiffusionLM(config)
    assert len(model.encoder.blocks) == 3 and model.encoder.embed_tokens.embedding_dim == 12
    assert len(model.latent_denoiser.blocks) == 2 and len(model.model.blocks) == 1


def test_the_mask_code_comes_after_the_codes():
    assert LaddConfig(**SMALL, **KINDS["discrete"]).latent_mask_code == 5


def test_fsq_levels_alone_say_how_many_codes_there_are():
    config = LaddConfig(**SMALL, latent_type="discrete", **LATENTS, quantizer="finite_scalar", fsq_levels=[3, 4, 5])
    assert config.codebook_size == 60


# --- the paper's sizes ---


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("XXS", (32, 4, 2, 16)),
        ("XS", (64, 4, 4, 32)),
        ("S", (384, 12, 6, 128)),
        ("B", (768, 12, 12, 128)),
        ("L", (1024, 24, 16, 256)),
        ("XL", (1152, 28, 16, 256)),
    ],
)
def test_sizes_are_the_papers(size, expected):
    config = LaddConfig.from_size(size, vocab_size=28)
    given = config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.cond_hidden_size
    assert given == expected
    assert config.vocab_size == 28 and set(MODEL_SIZES) == {"XXS", "XS", "S", "B", "L", "XL"}


def test_a_size_can_be_changed_in_part_and_an_unknown_one_is_refused():
    assert LaddConfig.from_size("XXS", num_hidden_layers=1).num_hidden_layers == 1
    with pytest.raises(ValueError, match="'XXL' is unknown; give one of XXS"):
        LaddConfig.from_size("XXL")


# --- saving ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_survives_saving(kind, tmp_path):
    config = LaddConfig(
        **SMALL,
        **KINDS[kind],
        token_noise_schedule={"name": "polynomial", "degree": 3},
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    )
    config.save_pretrained(tmp_path)
    loaded = LaddConfig.from_pretrained(tmp_path)
    ignored = ("transformers_version", "_name_or_path")
    before, after = ({k: v for k, v in c.to_dict().items() if k not in ignored} for c in (config, loaded))
    assert before == after
    assert loaded.rope_parameters["rope_theta"] == 500.0
    assert type(AutoConfig.from_pretrained(tmp_path)) is LaddConfig


def test_the_auto_classes_know_the_models():
    config = LaddConfig(**SMALL, **KINDS["none"])
    assert type(AutoConfig.for_model("ladd")) is LaddConfig
    assert type(AutoModel.from_config(config)) is LaddModel
    assert type(AutoModelForMaskedLM.from_config(config)) is LaddForDiffusionLM


def test_the_auto_classes_load_saved_weights(tmp_path):
    model = LaddForDiffusionLM(LaddConfig(**SMALL, **KINDS["continuous"]))
    model.save_pretrained(tmp_path)
    loaded = AutoModelForMaskedLM.from_pretrained(tmp_path)
    base = AutoModel.from_pretrained(tmp_path)
    for name, weight in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)
    for name, weight in model.model.state_dict().items():
        assert torch.equal(base.state_dict()[name], weight)


def test_a_pretrained_encoder_brings_its_own_sizes():
    config = LaddConfig(**SMALL, **PRETRAINED)
    assert config.encoder_num_hidden_layers == config.encoder_hidden_size == config.encoder_num_attention_heads == 0
    assert config.encoder_pooling == "adaptive_chunk_mean" and not config.encoder_trained


# --- what is refused ---

CONTRADICTIONS = {
    "an encoder without latents": ({"encoder_name_or_path": "some/encoder"}, "'none', but encoder_name_or_path is set"),
    "standardised latents without latents": ({"latent_standardization": True}, "'none', but latent_standardization is"),
    **{
        f"{name} without a pretrained encoder": (
            KINDS["continuous"] | {name: value},
            f"{name} is set, which is for a pretrained encoder: name one in `encoder_name_or_path`",
        )
        for name, value in {
            "encoder_revision": "main",
            "encoder_pooling": "mean",
            "encoder_projection": "learned",
            "encoder_tokenizer": "own",
            "encoder_mask_token_id": 3,
            "encoder_trained": True,
            "encoder_config": {"model_type": "bert"},
            "latent_standardization": True,
        }.items()
    },
    **{
        f"{name} of a pretrained encoder": (
            PRETRAINED | {name: value},
            f"{name} is set, but `encoder_name_or_path` 'some/encoder' brings its own",
        )
        for name, value in {
            "encoder_num_hidden_layers": 2,
            "encoder_num_attention_heads": 2,
            "encoder_readout": "chunk",
        }.items()
    },
    "a variance that a pretrained encoder learns": (PRETRAINED | {"encoder_variance": "learned"}, "can not be taught"),
    "an unknown pooling": (PRETRAINED | {"encoder_pooling": "max"}, "'max' is unknown; give one of last_layer"),
    "a mean of several latents": (PRETRAINED | {"encoder_pooling": "mean"}, "'mean' gives exactly 1 latents"),
    "the last layer of fewer latents": (PRETRAINED | {"encoder_pooling": "last_layer"}, "gives exactly 6 latents"),
    "an end and no chunk": (
        PRETRAINED | {"encoder_pooling": "adaptive_chunk_mean_eos", "latent_length": 1},
        "gives 2 to 6 latents",
    ),
    "a size that can not be cut": (
        PRETRAINED | {"encoder_hidden_size": 2},
        "'some/encoder' has states of size 2, from which `latent_dim` 3 can not be cut",
    ),
    "what a fixed encoder does not keep": (
        PRETRAINED | {"encoder_config": {"model_type": "bert"}},
        "`encoder_config` is kept by a model that trains its encoder",
    ),
    "mask and pad are one": ({"pad_token_id": 6}, "`pad_token_id` and `mask_token_id` are both 6"),
    "mask above the vocabulary": ({"mask_token_id": 7}, "`mask_token_id` 7 lies outside the vocabulary"),
    "mask below the vocabulary": ({"mask_token_id": -1}, "`mask_token_id` -1 lies outside the vocabulary"),
    "pad outside the vocabulary": ({"pad_token_id": 9}, "`pad_token_id` 9 lies outside the vocabulary"),
    "heads do not divide the size": ({"num_attention_heads": 3}, "`hidden_size` 8 over `num_attention_heads` 3"),
    "heads of odd size": ({"num_attention_heads": 8}, "even size, which rotary positions need"),
    "no heads": ({"num_attention_heads": 0}, "`num_attention_heads` is 0; give"),
    "encoder heads": (
        KINDS["continuous"] | {"encoder_hidden_size": 10, "encoder_num_attention_heads": 4},
        "`encoder_hidden_size` 10 over `encoder_num_attention_heads` 4",
    ),
    "length without latents": ({"latent_length": 2}, "`latent_type` is 'none', but latent_length is set"),
    "size without latents": ({"latent_dim": 2}, "'none', but latent_dim is set"),
    "codes without latents": ({"codebook_size": 2}, "'none', but codebook_size is set"),
    "denoiser without latents": ({"separate_latent_denoiser": True}, "'none', but separate_latent_denoiser is set"),
    "latents without length": ({"latent_type": "continuous", "latent_dim": 3}, "`latent_length` 0"),
    "latents without size": ({"latent_type": "continuous", "latent_length": 2}, "`latent_dim` 0"),
    "more latents than tokens": (KINDS["continuous"] | {"latent_length": 7}, "a length from 1 to .* \\(6\\)"),
    "vectors with codes": (KINDS["continuous"] | {"codebook_size": 5}, "'continuous', but codebook_size is set"),
    "vectors with levels": (KINDS["continuous"] | {"fsq_levels": [3, 3]}, "'continuous', but fsq_levels is set"),
    "vectors with a quantiser": (KINDS["continuous"] | {"quantizer": "gumbel"}, "'continuous', but quantizer is set"),
    "a schedule without latents": ({"latent_noise_schedule": "foo"}, "'none', but latent_noise_schedule is set"),
    "a head without latents": ({"latent_head_layers": 2}, "'none', but latent_head_layers is set"),
    "codes that predict noise": (
        KINDS["discrete"] | {"latent_prediction_type": "epsilon"},
        "latent_prediction_type is",
    ),
    "no variance": (KINDS["continuous"] | {"encoder_variance": "fixed", "encoder_std": 0}, "`encoder_std` is 0; give"),
    "frozen choice": (KINDS["discrete"] | {"gumbel_temperature": 0}, "`gumbel_temperature` is 0; give"),
    "scaled rotary positions": (
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}},
        "plain rotary positions",
    ),
    "one code": (KINDS["discrete"] | {"codebook_size": 1}, "at least 2 codes"),
    "no codes": (KINDS["discrete"] | {"codebook_size": 0}, "at least 2 codes"),
    "codes with a denoiser of their own": (
        KINDS["discrete"] | {"separate_latent_denoiser": True},
        "separate_latent_denoiser is set",
    ),
    "codes with a variance": (KINDS["discrete"] | {"encoder_variance": "fixed"}, "encoder_variance is set"),
    "levels whose product is not the codebook": (
        KINDS["discrete"] | {"quantizer": "finite_scalar", "fsq_levels": [3, 3]},
        "product is the codebook size",
    ),
    "scalar quantiser without levels": (KINDS["discrete"] | {"quantizer": "finite_scalar"}, "`fsq_levels` None"),
    "two levels": (
        KINDS["discrete"] | {"codebook_size": 6, "quantizer": "finite_scalar", "fsq_levels": [2, 3]},
        "levels of at least 3",
    ),
    "levels for another quantiser": (
        KINDS["discrete"] | {"codebook_size": 9, "fsq_levels": [3, 3]},
        "are for the quantizer 'finite_scalar', not 'vector'",
    ),
    "unknown token schedule": ({"token_noise_schedule": "square"}, "'square' is unknown"),
    "a Gaussian schedule for tokens": ({"token_noise_schedule": "sqrt"}, "'sqrt' is unknown"),
    "a Gaussian schedule for codes": (KINDS["discrete"] | {"latent_noise_schedule": "sqrt"}, "'sqrt' is unknown"),
    "a mask schedule for vectors": (
        KINDS["continuous"] | {"latent_noise_schedule": "geometric"},
        "'geometric' is unknown",
    ),
    "an option the schedule has not": (
        {"token_noise_schedule": {"name": "linear", "degree": 2}},
        "does not take these options",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_contradictions_are_refused_in_one_sentence(case):
    changes, message = CONTRADICTIONS[case]
    LaddConfig(**SMALL)  # what is changed is what is refused
    with pytest.raises(ValueError, match=message) as refused:
        LaddConfig(**{**SMALL, **changes})
    text = str(refused.value)
    assert text.endswith(".") and "\n" not in text, "one sentence that reaches the user as it is"


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": "8"},
        {"latent_type": "text"},
        {"latent_positions": "middle"},
        {"quantizer": "nearest"},
        {"encoder_readout": "mean"},
        {"latent_prediction_type": "v"},
        {"fsq_levels": 9},
        {"token_time_conditioning": "yes"},
        {"token_noise_schedule": 1},
    ],
)
def test_values_of_the_wrong_kind_are_refused(changes):
    with pytest.raises((StrictDataclassError, ValueError, TypeError), match=next(iter(changes))):
        LaddConfig(**{**SMALL, **KINDS["continuous"], **changes})


def test_a_later_change_is_validated_before_it_is_saved(tmp_path):
    config = LaddConfig(**SMALL)
    config.pad_token_id = config.mask_token_id
    with pytest.raises(Exception, match="`pad_token_id` and `mask_token_id` are both 6"):
        config.save_pretrained(tmp_path)
