"""What is pushed loads where this package is not installed, or was not imported."""

from __future__ import annotations

NOT_INSTALLED = """
import importlib.util, sys, torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

assert importlib.util.find_spec("ladd_hf") is None
config = AutoConfig.from_pretrained("tester/model", trust_remote_code=True)
assert config.latent_type == "discrete"
model = AutoModelForMaskedLM.from_pretrained("tester/model", trust_remote_code=True)
assert type(model).__name__ == "LaddForDiffusionLM" and not type(model).__module__.startswith("ladd_hf")
assert type(AutoModel.from_pretrained("tester/model", trust_remote_code=True)).__name__ == "LaddModel"
logits = model(torch.arange(6)[None], torch.zeros(1, 4, dtype=torch.long)).logits
print("logits", logits[0, :, :10].double().sum().item())
model.nelbo(torch.arange(6)[None], num_samples=1)
model(input_ids=torch.arange(6)[None], labels=torch.arange(6)[None]).loss.backward()
model.push_to_hub("tester/again")
AutoModelForMaskedLM.from_pretrained("tester/again", trust_remote_code=True)
"""
INSTALLED = """
import torch
from ladd_hf import LaddForDiffusionLM
from transformers import AutoModelForMaskedLM
model = AutoModelForMaskedLM.from_pretrained("tester/model")
assert type(model) is LaddForDiffusionLM
logits = model(torch.arange(6)[None], torch.zeros(1, 4, dtype=torch.long)).logits
print("logits", logits[0, :, :10].double().sum().item())
"""
DIFFUSERS_ALONE = """
import sys, torch
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained("tester/pipeline", trust_remote_code=True)
import ladd_hf
assert type(pipe) is ladd_hf.LaddPipeline and type(pipe.model) is ladd_hf.LaddForDiffusionLM
assert type(pipe.scheduler) is ladd_hf.LaddSequentialScheduler and pipe.scheduler.config.max_latent_steps == 1
print("texts", pipe(num_steps=3, batch_size=2, generator=torch.Generator().manual_seed(0)).texts)
"""
NOT_TRUSTED = """
from diffusers import DiffusionPipeline
DiffusionPipeline.from_pretrained("tester/pipeline")
"""


def printed(output, name):
    return [line for line in output.splitlines() if line.startswith(name)][-1]


def test_a_pushed_model_loads_and_works_without_the_package(pushed, succeed, without_package):
    assert printed(succeed(NOT_INSTALLED, **without_package), "logits") == printed(succeed(INSTALLED), "logits")


def test_a_pushed_pipeline_loads_through_diffusers_alone(pushed, succeed):
    assert printed(succeed(DIFFUSERS_ALONE), "texts") == printed(pushed, "texts")


def test_its_files_do_not_run_unless_they_are_trusted(pushed, run):
    process = run(NOT_TRUSTED)
    assert process.returncode != 0 and "trust_remote_code=True" in process.stderr
