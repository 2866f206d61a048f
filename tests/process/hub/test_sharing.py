"""A process with an empty cache pulls from a Hub exactly what another one pushed."""

from __future__ import annotations

import pytest

PULL = """
import sys, torch
from huggingface_hub import ModelCard
from transformers import AutoTokenizer
from ladd_hf import LaddForDiffusionLM, LaddPipeline, LaddSequentialScheduler
from conftest import _stirred_model

model, source = LaddForDiffusionLM.from_pretrained("tester/model"), _stirred_model("discrete").state_dict()
print("differ:", [name for name, value in source.items() if not torch.equal(model.state_dict()[name], value)])
print("mask token:", AutoTokenizer.from_pretrained("tester/model").mask_token_id == model.config.mask_token_id)
print("card:", "A card of its own" in ModelCard.load("tester/model").text)
print("scheduler:", LaddSequentialScheduler.from_pretrained("tester/scheduler").config.latent_share)

pipe = LaddPipeline.from_pretrained("tester/pipeline")
print("latent steps:", pipe.scheduler.config.max_latent_steps)
print("texts:", pipe(num_steps=3, batch_size=2, generator=torch.Generator().manual_seed(0)).texts)

pipe = LaddPipeline.from_pretrained("tester/model", scheduler=LaddSequentialScheduler())
print("of a model:", len(pipe(num_steps=2, batch_size=3).texts), type(pipe.scheduler).__name__)

pipe = LaddPipeline.from_pretrained("tester/pipeline", revision=sys.argv[1])
model = LaddForDiffusionLM.from_pretrained("tester/model", revision=sys.argv[2])
print("revisions:", pipe.scheduler.config.max_latent_steps, model.config.eos_token_id)

model, text = LaddForDiffusionLM.from_pretrained("tester/base"), torch.arange(6)[None]
plain = model(text).logits
model.load_adapter("tester/adapter", adapter_name="small")
adapted = model(text).logits
print("adapter changes:", not torch.allclose(plain[..., :10], adapted[..., :10]))
print("logits:", adapted[0, :, :10].double().sum().item())
print("at once:", torch.equal(LaddForDiffusionLM.from_pretrained("tester/adapter")(text).logits, adapted))

pipe = LaddPipeline.from_pretrained("tester/base")
pipe.load_lora_weights("tester/adapter")
print("of a pipeline:", torch.equal(pipe.model(text).logits, adapted))
pipe.load_lora_weights("tester/adapter", "twice", revision=sys.argv[3])
twice = pipe.model(text).logits
pipe.set_adapters("default_0", 2.0)
print("of a revision:", torch.equal(pipe.model(text).logits, twice), not torch.equal(twice, adapted))
"""


@pytest.fixture(scope="module")
def pulled(pushed, hub, run):
    """Output of the process that pulled everything; three repositories have had other commits in between."""
    revisions = []
    for repo, file, old, new in (
        ("tester/pipeline", "scheduler/scheduler_config.json", b'"max_latent_steps": 1', b'"max_latent_steps": 7'),
        ("tester/model", "config.json", b'"eos_token_id": null', b'"eos_token_id": 7'),
        ("tester/adapter", "adapter_config.json", b'"lora_alpha": 8', b'"lora_alpha": 16'),
    ):
        content = hub.state.at(repo, "main")[1][file]
        assert old in content
        revisions.append(hub.state.add(repo, {file: content.replace(old, new)}, set()))
        hub.state.add(repo, {file: content}, set())
    return run(PULL, *revisions)


def test_a_model_is_what_was_pushed(pulled):
    assert pulled["differ"] == "[]"


def test_tokenizer_scheduler_and_card_are_what_was_pushed(pulled):
    assert pulled["mask token"] == pulled["card"] == "True"
    assert pulled["scheduler"] == "0.25"


def test_a_pipeline_writes_what_it_wrote_before_it_was_pushed(pulled, pushed):
    assert pulled["latent steps"] == "1"
    assert pulled["texts"] == pushed["texts"]


def test_a_models_repository_is_a_pipeline_too(pulled):
    assert pulled["of a model"] == "3 LaddSequentialScheduler"


def test_revisions_are_pulled_by_their_names(pulled):
    assert pulled["latent steps"] == "1" and pulled["revisions"] == "7 7"


def test_an_adapter_is_pushed_alone_and_pulled_onto_its_base(pulled, pushed, hub):
    _, files = hub.state.at("tester/adapter", "main")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(files)
    assert not [name for name in files if name.endswith(".py") or name == "model.safetensors"]
    assert b'pipe.load_lora_weights("tester/adapter")' in files["README.md"]
    assert pulled["adapter changes"] == pulled["at once"] == "True"
    assert pulled["logits"] == pushed["logits"]


def test_a_pipeline_pulls_adapters_too(pulled):
    assert pulled["of a pipeline"] == "True" and pulled["of a revision"] == "True True"


def test_a_pushed_pipeline_is_a_whole_folder(pushed, hub):
    _, files = hub.state.at("tester/pipeline", "main")
    assert {"model_index.json", "model/config.json", "model/model.safetensors", "README.md"} <= set(files)
    assert {"scheduler/scheduler_config.json", "tokenizer/tokenizer.json"} <= set(files)
