"""Pipelines whose model has adapters."""

from __future__ import annotations

import pytest
import torch
from helpers.adapters import WAYS, adapted, answers, assert_close, lora

from ladd_hf import LaddForDiffusionLM, LaddPipeline, LaddSequentialScheduler
from ladd_hf.models.adapters import has_adapters

KINDS = ("none", "continuous", "separate", "discrete", "vector", "gumbel")


def generated(model, **options):
    pipeline = LaddPipeline(model, LaddSequentialScheduler())
    pipeline.set_progress_bar_config(disable=True)
    random = torch.Generator().manual_seed(0)
    return pipeline(num_steps=4, batch_size=8, generator=random, **options).sequences


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_pipeline_generates_with_the_active_adapter(kind, way, stirred_model):
    plain = generated(stirred_model(kind))
    model = adapted(stirred_model(kind), way)
    assert not torch.equal(generated(model), plain)
    if way == "add_adapter":
        model.disable_adapters()
        assert torch.equal(generated(model), plain)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_pipeline_is_saved_whole_with_its_adapter_merged_in(kind, way, stirred_model, tmp_path):
    model = adapted(stirred_model(kind), way)
    expected = answers(model)
    pipeline = LaddPipeline(model, LaddSequentialScheduler(latent_share=0.25))
    pipeline.save_pretrained(tmp_path)
    assert pipeline.model is model and has_adapters(model)
    reloaded = LaddPipeline.from_pretrained(tmp_path)
    assert type(reloaded.model) is LaddForDiffusionLM and not has_adapters(reloaded.model)
    assert reloaded.scheduler.config.latent_share == 0.25
    assert_close(answers(reloaded.model), expected, atol=1e-5)


def test_a_merged_model_makes_a_pipeline_that_is_saved_and_loaded(stirred_model, tmp_path):
    model = adapted(stirred_model("discrete"), "get_peft_model")
    expected = answers(model)
    LaddPipeline(model.merge_and_unload()).save_pretrained(tmp_path)
    assert_close(answers(LaddPipeline.from_pretrained(tmp_path).model), expected, atol=1e-5)


def test_a_pipeline_s_adapter_is_saved_alone_by_its_model(stirred_model, tmp_path):
    pipeline = LaddPipeline(adapted(stirred_model("discrete"), "add_adapter", lora(["qkv_proj"])))
    pipeline.model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    }
