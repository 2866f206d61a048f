"""Adapters are loaded wholly or not at all, and leave nothing behind."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.adapters import answers, assert_close, differs, lora
from safetensors.torch import load_file, save_file

from ladd_hf import LaddForDiffusionLM
from ladd_hf.models.adapters import adapter_parameters, has_adapters


@pytest.fixture
def saved(stirred_model, tmp_path):
    """`saved(kind, name, config)`: the folder of an adapter."""

    def save(kind, name="adapter", config=None):
        model = stirred_model(kind)
        torch.manual_seed(len(name))
        model.add_adapter(config or lora())
        model.save_pretrained(tmp_path / name)
        return tmp_path / name

    return save


def spoil(folder, change):
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def without_one(weights):
    return dict(list(weights.items())[1:])


def with_another(weights):
    return {**weights, "base_model.model.elsewhere.lora_A.weight": torch.zeros(2, 2)}


def wider(weights):
    return {name: torch.cat([value, value], -1) if "lora_A" in name else value for name, value in weights.items()}


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_settings(**settings):
    def change(path):
        path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))

    return change


WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"


@pytest.mark.parametrize(
    ("name", "harm", "error", "message"),
    [
        (WEIGHTS, cut, OSError, "are no whole safetensors file"),
        (WEIGHTS, lambda path: path.unlink(), OSError, "is not whole"),
        (WEIGHTS, lambda path: path.write_bytes(b""), OSError, "are no whole safetensors file"),
        (SETTINGS, cut, OSError, "is no whole JSON file"),
        (SETTINGS, lambda path: path.write_bytes(b'{"r": "\xff"}'), OSError, "is no whole JSON file"),
        (SETTINGS, lambda path: path.write_text("[1]"), ValueError, "is none that this version of peft can load"),
        (SETTINGS, lambda path: path.write_text("{}"), ValueError, "is none that this version of peft can load"),
        (SETTINGS, lambda path: path.unlink(), ValueError, "is none that this version of peft can load"),
        (SETTINGS, other_settings(peft_type="MAGIC"), ValueError, "is none that this version of peft can load"),
        (SETTINGS, other_settings(r="many"), ValueError, "is none that this version of peft can load"),
    ],
)
def test_damaged_files_of_an_adapter_are_named_and_change_nothing(name, harm, error, message, saved, stirred_model):
    model, folder = stirred_model("none"), saved("none", "damaged")
    expected = answers(model)
    harm(folder / name)
    with pytest.raises(error, match=f"adapter {folder} {message}"):
        model.load_adapter(str(folder))
    assert not has_adapters(model)
    assert_close(answers(model), expected)


@pytest.mark.parametrize(
    ("change", "message"), [(without_one, "lacks"), (with_another, "besides"), (wider, "in other sizes")]
)
@pytest.mark.parametrize("held", [[], ["first"], ["other", "first"]], ids=lambda held: f"{len(held)} active before")
def test_an_adapter_that_does_not_fit_is_refused_and_changes_nothing(held, change, message, saved, stirred_model):
    model = stirred_model("discrete")
    for name in held:
        model.load_adapter(str(saved("discrete", name)), name)
        model.set_adapter(held[: held.index(name) + 1])
    before, expected = dict(model.state_dict()), answers(model)
    folder = saved("discrete", "spoilt", lora(["qkv_proj", "o_proj"]))
    spoil(folder, change)
    with pytest.raises(ValueError, match=f"does not fit the model: it .*{message}"):
        model.load_adapter(str(folder), "second")
    assert model.state_dict().keys() == before.keys()
    assert_close(answers(model), expected)
    assert list(getattr(model, "peft_config", {})) == held
    assert not held or model.active_adapters() == held


def test_an_adapter_of_another_kind_of_model_is_refused(saved, stirred_model):
    folder, model = saved("discrete"), stirred_model("continuous")
    with pytest.raises(ValueError, match="does not fit the model"):
        model.load_adapter(str(folder))
    assert not has_adapters(model)


def test_an_adapter_of_layers_that_the_model_has_not_is_refused(saved, stirred_model):
    folder, model = saved("discrete", config=lora(["readout"])), stirred_model("none")
    with pytest.raises(ValueError, match="readout"):
        model.load_adapter(str(folder))
    assert not has_adapters(model) and not hasattr(model, "peft_config")
    model.add_adapter(lora())  # as to a model that has never seen one


def test_a_folder_without_an_adapter_is_refused(stirred_model, tmp_path):
    model = stirred_model("none")
    with pytest.raises(ValueError, match="adapter model file not found"):
        model.load_adapter(str(tmp_path))
    assert not has_adapters(model)


@pytest.mark.parametrize("name", ["token", "weight", "latent_head", "default"])
def test_an_adapter_s_name_may_be_part_of_a_layer_s(name, saved, stirred_model):
    model, folder = stirred_model("discrete"), saved("discrete")
    model.load_adapter(str(folder), name)
    assert model.active_adapters() == [name]
    other = stirred_model("discrete")
    other.load_adapter(str(folder))
    assert_close(answers(model), answers(other))


def test_a_name_that_is_taken_is_refused_and_the_adapter_stays(saved, stirred_model):
    model = stirred_model("none")
    model.load_adapter(str(saved("none", "first")), "mine")
    expected = answers(model)
    with pytest.raises(ValueError, match="already exists"):
        model.load_adapter(str(saved("none", "other")), "mine")
    assert_close(answers(model), expected)


def test_without_its_last_adapter_a_model_is_what_it_was(stirred_model, tmp_path):
    model = stirred_model("discrete")
    plain, names = answers(model), model.state_dict().keys()
    model.add_adapter(lora(["o_proj", "up_proj"]), "first")
    model.add_adapter(lora(["qkv_proj"], modules_to_save=["readout"]), "second")
    model.delete_adapter("first")
    assert has_adapters(model) and model.active_adapters() == ["second"]
    model.delete_adapter("second")
    assert not has_adapters(model) and model.state_dict().keys() == names
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert_close(answers(model), plain)
    model.save_pretrained(tmp_path)
    assert_close(answers(LaddForDiffusionLM.from_pretrained(tmp_path)), plain)


def test_whole_modules_are_disabled_and_enabled_with_the_rest(stirred_model):
    model = stirred_model("discrete")
    plain = answers(model)
    model.add_adapter(lora(["o_proj"], modules_to_save=["readout"]))
    with torch.no_grad():
        for parameter in adapter_parameters(model):
            parameter.add_(0.1 * torch.randn_like(parameter))
    adapted = answers(model)
    assert differs(adapted, plain)
    model.disable_adapters()
    assert_close(answers(model), plain)
    model.enable_adapters()
    assert_close(answers(model), adapted)
