"""What is pushed to a Hub is what another process pulls from it, with an empty cache."""

from __future__ import annotations

PULL = """
import torch
from huggingface_hub import ModelCard
from transformers import AutoTokenizer
from ladd_hf import LaddForDiffusionLM, LaddPipeline, LaddSequentialScheduler
from conftest import _stirred_model

model, source = LaddForDiffusionLM.from_pretrained("tester/model"), _stirred_model("discrete")
for name, value in source.state_dict().items():
    assert torch.equal(model.state_dict()[name], value), name
assert AutoTokenizer.from_pretrained("tester/model").mask_token_id == model.config.mask_token_id
assert "A card of its own" in ModelCard.load("tester/model").text
assert LaddSequentialScheduler.from_pretrained("tester/scheduler").config.latent_share == 0.25
pipe = LaddPipeline.from_pretrained("tester/pipeline")
assert pipe.scheduler.config.max_latent_steps == 1
print("texts", pipe(num_steps=3, batch_size=2, generator=torch.Generator().manual_seed(0)).texts)
"""
OF_A_MODEL = """
from ladd_hf import LaddPipeline, LaddSequentialScheduler
pipe = LaddPipeline.from_pretrained("tester/model", scheduler=LaddSequentialScheduler())
assert pipe.scheduler.config.mask_token_id == pipe.model.config.mask_token_id
assert len(pipe(num_steps=2, batch_size=3).texts) == 3
"""
ADAPTER = """
import torch
from ladd_hf import LaddForDiffusionLM

model = LaddForDiffusionLM.from_pretrained("tester/base")
plain = model(torch.arange(6)[None]).logits
model.load_adapter("tester/adapter", adapter_name="small")
adapted = model(torch.arange(6)[None]).logits
assert not torch.allclose(plain[..., :10], adapted[..., :10])
print("logits", adapted[0, :, :10].double().sum().item())
at_once = LaddForDiffusionLM.from_pretrained("tester/adapter")  # it names its base
assert torch.equal(at_once(torch.arange(6)[None]).logits, adapted)
"""
MISSING = """
from ladd_hf import LaddPipeline
LaddPipeline.from_pretrained("tester/nothing")
"""
REVISIONS = """
import sys
from ladd_hf import LaddForDiffusionLM, LaddPipeline
print("vocabulary", LaddPipeline.from_pretrained("tester/pipeline", revision=sys.argv[1]).model.config.vocab_size)
print("weights", LaddForDiffusionLM.from_pretrained("tester/model", revision=sys.argv[2]).num_parameters())
"""


def last_line(output, name):
    return [line for line in output.splitlines() if line.startswith(name)][-1]


def test_what_is_pulled_is_what_was_pushed(pushed, succeed):
    assert last_line(succeed(PULL), "texts") == last_line(pushed, "texts")


def test_a_models_repository_is_a_pipeline_too(pushed, succeed):
    succeed(OF_A_MODEL)


def test_an_adapter_is_pushed_alone_and_pulled_onto_its_base(pushed, succeed, hub):
    _, files = hub.state.at("tester/adapter", "main")
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(files)
    assert not [name for name in files if name.endswith(".py") or name == "model.safetensors"]
    assert last_line(succeed(ADAPTER), "logits") == last_line(pushed, "logits")


def test_a_pushed_pipeline_is_a_whole_folder(pushed, hub):
    _, files = hub.state.at("tester/pipeline", "main")
    assert {"model_index.json", "model/config.json", "model/model.safetensors", "README.md"} <= set(files)
    assert {"scheduler/scheduler_config.json", "tokenizer/tokenizer.json"} <= set(files)


def test_revisions_are_pulled_by_their_names(pushed, hub, succeed):
    (pipeline, files), (model, model_files) = (hub.state.at(f"tester/{name}", "main") for name in ("pipeline", "model"))
    hub.state.add("tester/pipeline", {"model_index.json": b"{}"}, set())  # later commits that spoil them
    hub.state.add("tester/model", {"config.json": b"{}"}, set())
    try:
        assert "vocabulary 11" in succeed(REVISIONS, pipeline, model)
    finally:
        hub.state.add("tester/pipeline", files, set())
        hub.state.add("tester/model", model_files, set())


def test_a_repository_that_does_not_exist_is_named(pushed, run):
    process = run(MISSING)
    assert process.returncode != 0
    assert "RepositoryNotFoundError" in process.stderr and "tester/nothing" in process.stderr
