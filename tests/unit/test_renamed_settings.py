"""Configurations that were saved before settings were renamed load, mean the same, and say what was renamed."""

from __future__ import annotations

import json
import logging

import pytest
from transformers import AutoConfig
from transformers.utils import logging as transformers_logging

from ladd_hf import LaddConfig
from ladd_hf.models.encoders.encoder_options import PretrainedOptions, TrainedOptions
from ladd_hf.models.quantizers.quantizer_options import QUANTIZERS, FiniteScalarOptions, GumbelOptions, VectorOptions
from ladd_hf.models.renamed_settings import RENAMED, with_current_names

# All that was renamed, as format 1 saved it of a model for which none of it was set.
UNSET = {
    "encoder_num_hidden_layers": 1,
    "encoder_hidden_size": 8,
    "encoder_num_attention_heads": 2,
    "encoder_readout": "last",
    "encoder_variance": "none",
    "encoder_std": 0.1,
    "encoder_name_or_path": None,
    "encoder_revision": None,
    "encoder_config": None,
    "encoder_pooling": "adaptive_chunk_mean",
    "encoder_projection": "cut",
    "encoder_tokenizer": "shared",
    "encoder_mask_token_id": None,
    "encoder_trained": False,
    "latent_standardization": False,
    "quantizer": "vector",
    "fsq_levels": None,
    "codebook_decay": 0.95,
    "codebook_kmeans_init": True,
    "codebook_dead_code_threshold": 2,
    "commitment_weight": 0.1,
    "gumbel_temperature": 1.0,
    "latent_head_layers": 0,
    "latent_head_hidden_size": 2048,
    "separate_latent_denoiser": False,
    "latent_denoiser_num_layers": 1,
}
SAVED = {
    "model_type": "ladd",
    "format_version": 1,
    "vocab_size": 7,
    "mask_token_id": 6,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 6,
    **UNSET,
}
CONTINUOUS = {"latent_type": "continuous", "latent_length": 2, "latent_dim": 3, "latent_noise_schedule": "sqrt"}
DISCRETE = {"latent_type": "discrete", "latent_length": 2, "latent_dim": 3, "codebook_size": 9}
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}


def load(folder, **changes):
    (folder / "config.json").write_text(json.dumps(SAVED | changes))
    return AutoConfig.from_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({}, VectorOptions()),
        (
            {
                "codebook_decay": 0.8,
                "codebook_kmeans_init": False,
                "codebook_dead_code_threshold": 0,
                "commitment_weight": 0,
            },
            VectorOptions(decay=0.8, kmeans_init=False, dead_code_threshold=0, commitment_weight=0),
        ),
        ({"quantizer": "finite_scalar", "fsq_levels": [3, 3]}, FiniteScalarOptions(levels=[3, 3])),
        ({"quantizer": "gumbel", "gumbel_temperature": 0.5, "codebook_decay": 0.8}, GumbelOptions(temperature=0.5)),
    ],
    ids=["vector", "vector with options", "finite scalar", "gumbel"],
)
def test_a_quantiser_keeps_its_options_and_loses_those_of_others(changes, options, tmp_path):
    config = load(tmp_path, **DISCRETE, **changes)
    assert QUANTIZERS.build(config.quantizer) == options
    assert config.encoder_options == TrainedOptions(**SIZES)


def test_an_encoder_of_our_own_keeps_its_options(tmp_path):
    sizes = {"encoder_hidden_size": 12, "encoder_num_hidden_layers": 3, "encoder_num_attention_heads": 3}
    others = {"encoder_readout": "chunk", "encoder_variance": "fixed", "encoder_std": 0.3}
    config = load(tmp_path, **CONTINUOUS, **sizes, **others)
    expected = TrainedOptions(
        hidden_size=12, num_hidden_layers=3, num_attention_heads=3, readout="chunk", variance="fixed", std=0.3
    )
    assert config.encoder_options == expected and config.quantizer == "vector"


def test_a_pretrained_encoder_keeps_its_options(tmp_path):
    options = {
        "name_or_path": "some/encoder",
        "revision": "abc",
        "config": {"model_type": "bert"},
        "pooling": "mean",
        "projection": "learned",
        "tokenizer": "own",
        "mask_token_id": 0,
        "trained": True,
        "hidden_size": 16,
    }
    before = {f"encoder_{name}": value for name, value in options.items()}
    before |= {"encoder_num_hidden_layers": 0, "encoder_num_attention_heads": 0, "latent_standardization": True}
    config = load(tmp_path, **CONTINUOUS | {"latent_length": 1}, **before)
    assert config.encoder_options == PretrainedOptions(**options, standardization=True)


def test_head_and_denoiser_of_the_latents_keep_their_sizes(tmp_path):
    sizes = {"latent_head_layers": 2, "latent_head_hidden_size": 48, "latent_denoiser_num_layers": 3}
    config = load(tmp_path, **CONTINUOUS, **sizes, separate_latent_denoiser=True)
    assert config.latent_head == {"name": "mlp", "layers": 2, "hidden_size": 48}
    assert config.latent_denoiser == {"name": "separate", "num_layers": 3} and config.separate_latent_denoiser


@pytest.mark.parametrize("kind", [{"latent_type": "none"}, CONTINUOUS, DISCRETE], ids=lambda kind: kind["latent_type"])
def test_what_is_saved_again_is_of_today_and_no_longer_renamed(kind, tmp_path, caplog):
    transformers_logging.enable_propagation()
    try:
        with caplog.at_level(logging.WARNING):
            config = load(tmp_path, **kind)
        said = [record.getMessage() for record in caplog.records if "renamed" in record.getMessage()]
        caplog.clear()
        config.save_pretrained(tmp_path / "again")
        again = LaddConfig.from_pretrained(tmp_path / "again")
        assert not [record for record in caplog.records if "renamed" in record.getMessage()]
    finally:
        transformers_logging.disable_propagation()
    assert len(said) == 1 and all(name in said[0] for name in RENAMED) and "Save it again" in said[0]
    assert again.to_dict() | {"_name_or_path": ""} == config.to_dict() | {"_name_or_path": ""}
    saved = json.loads((tmp_path / "again" / "config.json").read_text())
    assert not set(saved) & set(RENAMED) and saved["format_version"] == 2


def test_every_renamed_setting_is_known_here():
    assert set(RENAMED) == set(UNSET) - {"quantizer"}


def test_a_configuration_of_today_stays_as_it_is():
    today = LaddConfig(vocab_size=7, hidden_size=8, num_attention_heads=2).to_dict()
    assert with_current_names(today) == today


@pytest.mark.parametrize("name", sorted(RENAMED))
def test_code_that_gives_an_old_name_is_told_the_new_one(name):
    with pytest.raises(ValueError, match=rf'^There is no setting `{name}` any more: give `{RENAMED[name]}={{"name": "'):
        LaddConfig(vocab_size=7, hidden_size=8, num_attention_heads=2, **{name: UNSET[name]})
