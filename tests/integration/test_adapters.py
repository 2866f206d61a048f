"""Adapters of peft in the model's layers, whatever its latents."""

from __future__ import annotations

import json

import pytest
import torch
from helpers.adapters import WAYS, adapted, answers, assert_close, differs, lora
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file

from ladd_hf import LaddForDiffusionLM
from ladd_hf.models.adapters import LORA_TARGETS, adapter_parameters, base_model, has_adapters, merged

KINDS = ("none", "continuous", "separate", "discrete", "vector", "gumbel")
TARGETS = {"all": "all-linear", "some": list(LORA_TARGETS), "head": ["token_head.proj", "qkv_proj"]}


def weights(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def trainable(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_step_changes_the_adapters_weights_alone(kind, way, stirred_model):
    model = adapted(stirred_model(kind), way).train()
    before = weights(model)
    texts = torch.randint(1, 10, (4, 12), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    model(input_ids=texts, labels=texts).loss.backward()
    optimizer.step()
    changed = {name for name, value in weights(model).items() if not torch.equal(value, before[name])}
    assert changed and all("lora_" in name for name in changed), changed


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("kind", "targets"), [*((kind, "all") for kind in KINDS), ("gumbel", "some"), ("none", "head")]
)
def test_the_adapters_weights_are_all_that_is_saved_and_reload_exactly(kind, way, targets, stirred_model, tmp_path):
    base = stirred_model(kind)
    plain, model = answers(base), adapted(base, way, lora(TARGETS[targets]))
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "adapter_model.safetensors")
    assert saved and all(".lora_A." in name or ".lora_B." in name for name in saved)
    assert not list(tmp_path.glob("model*")) and not (tmp_path / "config.json").exists()

    expected = answers(model)
    assert differs(expected, plain)
    reloaded = stirred_model(kind)
    reloaded.load_adapter(str(tmp_path))
    for one in (PeftModel.from_pretrained(stirred_model(kind), tmp_path).eval(), reloaded):
        assert_close(weights(base_model(one)), weights(base_model(model)), atol=0)
        assert_close(answers(one), expected)


def test_two_adapters_are_switched_and_disabled(stirred_model):
    model = stirred_model("discrete")
    plain = answers(model)
    for name in ("first", "second"):
        model.add_adapter(lora(), name)
    found = {}
    for name in ("first", "second", "first"):
        model.set_adapter(name)
        assert model.active_adapters() == [name]
        if name in found:
            assert_close(answers(model), found[name])
        found[name] = answers(model)
    assert differs(found["first"], found["second"]) and differs(found["first"], plain)
    model.disable_adapters()
    assert_close(answers(model), plain)
    model.enable_adapters()
    assert_close(answers(model), found["first"])


@pytest.mark.parametrize("kind", KINDS)
def test_merge_and_unload_gives_a_plain_model_that_says_the_same(kind, stirred_model, tmp_path):
    model = adapted(stirred_model(kind), "get_peft_model")
    expected = answers(model)
    plain = model.merge_and_unload()
    assert type(plain) is LaddForDiffusionLM and not has_adapters(plain)
    plain.save_pretrained(tmp_path)
    assert_close(answers(LaddForDiffusionLM.from_pretrained(tmp_path)), expected, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("targets", "tied"), [("all", True), ("some", False), ("head", False), ("head", True)])
def test_a_merged_copy_says_the_same_and_leaves_the_model_alone(way, tied, targets, stirred_model, tmp_path):
    base = stirred_model("discrete", tie_word_embeddings=tied)
    model = adapted(base, way, lora(TARGETS[targets]))
    before, expected = weights(model), answers(model)
    copied = merged(model)
    assert type(copied) is LaddForDiffusionLM and all(p.requires_grad for p in copied.parameters())
    assert copied.state_dict().keys() == stirred_model("discrete").state_dict().keys()
    assert_close(weights(model), before)
    assert_close(answers(model), expected)
    copied.save_pretrained(tmp_path)
    assert_close(answers(LaddForDiffusionLM.from_pretrained(tmp_path)), expected, atol=1e-5)


def test_a_merged_copy_has_the_active_adapter_and_none_that_is_disabled(stirred_model):
    model = stirred_model("continuous")
    plain = answers(model)
    model.add_adapter(lora(), "first")
    expected = answers(model)
    model.add_adapter(lora(), "second")
    model.set_adapter("first")
    assert_close(answers(merged(model)), expected, atol=1e-5)
    model.disable_adapters()
    assert_close(answers(merged(model)), plain)


def test_modules_that_are_trained_whole_are_merged_too(stirred_model):
    model = get_peft_model(stirred_model("discrete"), lora(["qkv_proj"], modules_to_save=["readout", "embed_tokens"]))
    with torch.no_grad():
        for parameter in adapter_parameters(model):
            parameter.add_(0.1 * torch.randn_like(parameter))
    expected = answers(model.eval())
    assert_close(answers(merged(model)), expected, atol=1e-5)
    with model.disable_adapter():
        assert_close(answers(merged(model)), answers(stirred_model("discrete")))


@pytest.mark.parametrize("way", WAYS)
def test_freeing_the_encoder_lets_its_adapters_learn_and_nothing_else(way, stirred_model):
    model = adapted(stirred_model("vector"), way)
    before = trainable(model)
    model.freeze_latent_encoder()
    assert trainable(model) and not any(".encoder." in f".{name}" for name in trainable(model))
    model.freeze_latent_encoder(False)
    assert trainable(model) == before


def test_freeing_an_encoder_that_was_fixed_before_the_adapter_came_keeps_its_own_weights_fixed(stirred_model):
    model = stirred_model("vector")
    model.freeze_latent_encoder()
    model.add_adapter(lora(["qkv_proj"]))
    model.freeze_latent_encoder(False)
    assert any("encoder" in name for name in trainable(model))
    assert all("lora_" in name for name in trainable(model))


def test_a_wrapped_model_is_not_saved_with_its_layers_full_of_adapters(stirred_model, tmp_path):
    model = adapted(stirred_model("none"), "get_peft_model")
    with pytest.raises(ValueError, match="merge_and_unload"):
        model.get_base_model().save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_base_of_a_wrapped_or_compiled_model_is_found(stirred_model):
    model = stirred_model("none")
    assert base_model(model) is model
    assert base_model(torch.compile(model)) is model
    assert base_model(adapted(model, "get_peft_model")) is model


def test_adapters_that_put_tokens_before_the_text_are_refused(stirred_model):
    sizes = {"token_dim": 32, "num_layers": 2, "num_attention_heads": 2, "num_transformer_submodules": 1}
    config = PromptTuningConfig(num_virtual_tokens=2, task_type="FEATURE_EXTRACTION", **sizes)
    with pytest.raises(ValueError, match=r"PROMPT_TUNING.*use `LoraConfig`"):
        base_model(get_peft_model(stirred_model("none"), config))


def test_an_adapter_without_target_modules_is_peft_s_to_refuse(stirred_model):
    with pytest.raises(ValueError, match="target_modules"):
        get_peft_model(stirred_model("none"), LoraConfig())


def test_an_adapter_s_folder_names_its_base_and_loads_at_once(stirred_model, tmp_path):
    stirred_model("none").save_pretrained(tmp_path / "base")
    model = LaddForDiffusionLM.from_pretrained(tmp_path / "base")
    plain = answers(model)
    adapted(model, "add_adapter").save_pretrained(tmp_path / "adapter")
    saved = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == str(tmp_path / "base")
    at_once = LaddForDiffusionLM.from_pretrained(tmp_path / "adapter")
    assert_close(answers(at_once), answers(model))
    assert differs(answers(at_once), plain)
