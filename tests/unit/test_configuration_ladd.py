"""A configuration says what the model is, builds from the few fields that matter, and refuses contradictions."""

from __future__ import annotations

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

from ladd_hf import MODEL_SIZES, LaddConfig, LaddForDiffusionLM, LaddModel
from ladd_hf.models.encoders.encoder_options import PretrainedOptions, TrainedOptions

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
PRETRAINED = {"name": "pretrained", "name_or_path": "some/encoder"}


def pretrained(**options):
    """Settings of a model with a pretrained encoder."""
    return KINDS["continuous"] | {"encoder": PRETRAINED | options}


def trained(**options):
    """Settings of a model with an encoder of our own."""
    return KINDS["continuous"] | {"encoder": {"name": "trained", **options}}


def quantized(name, **options):
    """Settings of a model with this quantiser and 5 codes."""
    return KINDS["discrete"] | {"quantizer": {"name": name, **options}}


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
    assert config.encoder_options == TrainedOptions(hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    assert config.latent_denoiser_num_layers == 1 and not config.separate_latent_denoiser
    encoder = trained(hidden_size=12, num_hidden_layers=3, num_attention_heads=3)
    config = LaddConfig(**SMALL, **encoder, latent_denoiser={"name": "separate", "num_layers": 2})
    model = LaddForDiffusionLM(config)
    assert len(model.encoder.blocks) == 3 and model.encoder.embed_tokens.embedding_dim == 12
    assert len(model.latent_denoiser.blocks) == 2 and len(model.model.blocks) == 1


def test_latents_are_predicted_without_tokens_never_while_all_are_masked_or_always():
    skips = {"name": "shared", "skips_masked_tokens": True}
    for kind in ("continuous", "discrete"):
        for denoiser, when in (("shared", "never"), (skips, "masked"), ("separate", "always")):
            assert LaddConfig(**SMALL, **KINDS[kind], latent_denoiser=denoiser).latents_alone == when
    assert LaddConfig(**SMALL).latents_alone == "never"


def test_the_mask_code_comes_after_the_codes():
    assert LaddConfig(**SMALL, **KINDS["discrete"]).latent_mask_code == 5


def test_fsq_levels_alone_say_how_many_codes_there_are():
    quantizer = {"name": "finite_scalar", "levels": [3, 4, 5]}
    config = LaddConfig(**SMALL, latent_type="discrete", **LATENTS, quantizer=quantizer)
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
    encoder = LaddConfig(**SMALL, **pretrained()).encoder_options
    assert encoder == PretrainedOptions(name_or_path="some/encoder") and encoder.hidden_size == 0
    assert encoder.pooling == "adaptive_chunk_mean" and not encoder.trained


# --- what is refused ---

CONTRADICTIONS = {
    "an encoder without latents": ({"encoder": PRETRAINED}, "'none', but encoder is set"),
    "an encoder without a name": (
        trained() | {"encoder": {"readout": "last"}},
        "The encoder is {'readout': 'last'}; g",
    ),
    "an unknown encoder": (trained() | {"encoder": "bert"}, "The encoder 'bert' is unknown; give one of"),
    "a pretrained encoder without its place": (
        trained() | {"encoder": "pretrained"},
        "needs the option `name_or_path`",
    ),
    **{
        f"{name} without a pretrained encoder": (
            trained(**{name: value}),
            f"'trained' has no option '{name}'; it takes",
        )
        for name, value in {"revision": "main", "pooling": "mean", "trained": True}.items()
    },
    **{
        f"{name} of a pretrained encoder": (
            pretrained(**{name: value}),
            f"'pretrained' has no option '{name}'; it takes",
        )
        for name, value in {"num_hidden_layers": 2, "num_attention_heads": 2, "readout": "chunk"}.items()
    },
    **{
        f"{name} {value!r}": (pretrained(**{name: value}), f"`encoder.{name}` is {value!r}; give {accepted}")
        for name, value, accepted in (
            ("projection", "none", "one of 'cut', 'learned'"),
            ("tokenizer", True, "one of 'shared', 'own'"),
            ("trained", 1, "true or false"),
            ("revision", 3, "a text"),
            ("mask_token_id", -1, "a whole number of at least 0"),
        )
    },
    "a variance that a pretrained encoder learns": (pretrained(variance="learned"), "`encoder.variance` is 'learned'"),
    "an unknown pooling": (pretrained(pooling="max"), "The pooling 'max' is unknown; give one of"),
    "a mean of several latents": (pretrained(pooling="mean"), "'mean' gives exactly 1 latents"),
    "the last layer of fewer latents": (pretrained(pooling="last_layer"), "gives exactly 6 latents"),
    "an end and no chunk": (
        pretrained(pooling="adaptive_chunk_mean_eos") | {"latent_length": 1},
        "gives 2 to 6 latents",
    ),
    "chunks of the denoiser beside others of the encoder": (
        pretrained(pooling="adaptive_chunk_mean_eos") | {"latent_unpooling": "chunk"},
        "`latent_unpooling` is 'chunk', by which the text is divided among all latents",
    ),
    "a size that cannot be cut": (
        pretrained(hidden_size=2),
        "'some/encoder' has states of size 2, from which `latent_dim` 3 cannot be cut",
    ),
    "what a fixed encoder does not keep": (
        pretrained(config={"model_type": "bert"}),
        "`encoder.config` is kept by a model that trains its encoder",
    ),
    "a name that a setting had": (
        KINDS["discrete"] | {"fsq_levels": [3, 3]},
        'no setting `fsq_levels` any more: give `quantizer={"name": "finite_scalar", "levels": ...}`',
    ),
    "mask and pad are one": ({"pad_token_id": 6}, "`pad_token_id` and `mask_token_id` are both 6"),
    "mask above the vocabulary": ({"mask_token_id": 7}, "`mask_token_id` 7 lies outside the vocabulary"),
    "mask below the vocabulary": ({"mask_token_id": -1}, "`mask_token_id` -1 lies outside the vocabulary"),
    "pad outside the vocabulary": ({"pad_token_id": 9}, "`pad_token_id` 9 lies outside the vocabulary"),
    "heads do not divide the size": ({"num_attention_heads": 3}, "`hidden_size` 8 over `num_attention_heads` 3"),
    "heads of odd size": ({"num_attention_heads": 8}, "even size, which rotary positions need"),
    "no heads": ({"num_attention_heads": 0}, "`num_attention_heads` is 0; give"),
    "encoder heads": (
        trained(hidden_size=10, num_attention_heads=4),
        "`encoder.hidden_size` 10 over `encoder.num_attention_heads` 4",
    ),
    "length without latents": ({"latent_length": 2}, "`latent_type` is 'none', but latent_length is set"),
    "size without latents": ({"latent_dim": 2}, "'none', but latent_dim is set"),
    "codes without latents": ({"codebook_size": 2}, "'none', but codebook_size is set"),
    "denoiser without latents": ({"latent_denoiser": "separate"}, "'none', but latent_denoiser is set"),
    "latents without length": ({"latent_type": "continuous", "latent_dim": 3}, "`latent_length` 0"),
    "latents without size": ({"latent_type": "continuous", "latent_length": 2}, "`latent_dim` 0"),
    "more latents than tokens": (KINDS["continuous"] | {"latent_length": 7}, "a length from 1 to .* \\(6\\)"),
    "vectors with codes": (KINDS["continuous"] | {"codebook_size": 5}, "'continuous', but codebook_size is set"),
    "vectors with a quantiser": (KINDS["continuous"] | {"quantizer": "gumbel"}, "'continuous', but quantizer is set"),
    "a schedule without latents": ({"latent_noise_schedule": "foo"}, "'none', but latent_noise_schedule is set"),
    "a head without latents": ({"latent_head": "mlp"}, "'none', but latent_head is set"),
    "codes that predict noise": (
        KINDS["discrete"] | {"latent_prediction_type": "epsilon"},
        "latent_prediction_type is",
    ),
    "a head without layers": (
        KINDS["continuous"] | {"latent_head": {"name": "mlp", "layers": 0}},
        "`latent_head.layers` is 0; give",
    ),
    "no variance": (trained(variance="fixed", std=0), "`encoder.std` is 0; give"),
    "frozen choice": (quantized("gumbel", temperature=0), "`quantizer.temperature` is 0; give"),
    "averages that grow": (quantized("vector", decay=1.5), "`quantizer.decay` is 1.5; give a share"),
    "a start by something": (quantized("vector", kmeans_init="yes"), "`quantizer.kmeans_init` is 'yes'; give true or"),
    "scaled rotary positions": (
        {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}},
        "plain rotary positions",
    ),
    "one code": (KINDS["discrete"] | {"codebook_size": 1}, "at least 2 codes"),
    "no codes": (KINDS["discrete"] | {"codebook_size": 0}, "at least 2 codes"),
    "tokens that are skipped by half": (
        KINDS["discrete"] | {"latent_denoiser": {"name": "shared", "skips_masked_tokens": 0.5}},
        "`latent_denoiser.skips_masked_tokens` is .*0.5.*; give true or false",
    ),
    "layers of a shared denoiser": (
        KINDS["discrete"] | {"latent_denoiser": {"name": "shared", "num_layers": 2}},
        "'shared' has no option 'num_layers'",
    ),
    "codes with a variance": (trained(variance="fixed") | KINDS["discrete"], "`encoder.variance` is 'fixed'"),
    "levels whose product is not the codebook": (
        quantized("finite_scalar", levels=[3, 3]),
        "which has 9 codes, but `codebook_size` is 5",
    ),
    "scalar quantiser without levels": (quantized("finite_scalar"), "needs the option `levels`"),
    "two levels": (quantized("finite_scalar", levels=[2, 3]), "`quantizer.levels` is .*levels of at least 3"),
    "no levels": (quantized("finite_scalar", levels=[]), "levels of at least 3"),
    "levels for another quantiser": (quantized("vector", levels=[3, 3]), "'vector' has no option 'levels'; it takes"),
    "an unknown quantiser": (KINDS["discrete"] | {"quantizer": "nearest"}, "'nearest' is unknown; give one of"),
    "unknown token schedule": ({"token_noise_schedule": "square"}, "'square' is unknown"),
    "a Gaussian schedule for tokens": ({"token_noise_schedule": "sqrt"}, "'sqrt' is unknown"),
    "a Gaussian schedule for codes": (KINDS["discrete"] | {"latent_noise_schedule": "sqrt"}, "'sqrt' is unknown"),
    "a mask schedule for vectors": (
        KINDS["continuous"] | {"latent_noise_schedule": "geometric"},
        "'geometric' is unknown",
    ),
    "an option the schedule has not": (
        {"token_noise_schedule": {"name": "linear", "degree": 2}},
        "has no option 'degree'; it takes none",
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
        {"quantizer": 3},
        {"encoder": None},
        {"latent_head": ["mlp"]},
        {"latent_prediction_type": 1},
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
