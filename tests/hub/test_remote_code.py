"""What is pushed loads where this package is not installed, or was not imported."""

from __future__ import annotations

NOT_INSTALLED = """
import importlib.util, torch
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM

print("installed:", importlib.util.find_spec("ladd_hf"))
print("latents:", AutoConfig.from_pretrained("tester/model", trust_remote_code=True).latent_type)
model = AutoModelForMaskedLM.from_pretrained("tester/model", trust_remote_code=True)
base = AutoModel.from_pretrained("tester/model", trust_remote_code=True)
print("classes:", type(model).__name__, type(base).__name__)
text = torch.arange(1, 7)[None]
print("logits:", model(text, torch.zeros(1, 4, dtype=torch.long)).logits[0, :, 1:10].double().sum().item())
print("bound:", model.nelbo(text, num_samples=2, generator=torch.Generator().manual_seed(0)).total_nats.item())
model(input_ids=text, labels=text).loss.backward()
model.push_to_hub("tester/again")
again = AutoModelForMaskedLM.from_pretrained("tester/again", trust_remote_code=True)
print("pushed on:", all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters())))
"""
INSTALLED = """
import torch
from diffusers import DiffusionPipeline
try:
    DiffusionPipeline.from_pretrained("tester/pipeline")
except ValueError as error:
    print("not trusted:", str(error).replace("\\n", " "))
pipe = DiffusionPipeline.from_pretrained("tester/pipeline", trust_remote_code=True)
import ladd_hf
print("classes:", type(pipe) is ladd_hf.LaddPipeline, type(pipe.model) is ladd_hf.LaddForDiffusionLM)
print("scheduler:", type(pipe.scheduler) is ladd_hf.LaddSequentialScheduler, pipe.scheduler.config.max_latent_steps)
print("texts:", pipe(num_steps=3, batch_size=2, generator=torch.Generator().manual_seed(0)).texts)

from transformers import AutoModelForMaskedLM
model, text = AutoModelForMaskedLM.from_pretrained("tester/model"), torch.arange(1, 7)[None]
print("local class:", type(model) is ladd_hf.LaddForDiffusionLM)
print("logits:", model(text, torch.zeros(1, 4, dtype=torch.long)).logits[0, :, 1:10].double().sum().item())
print("bound:", model.nelbo(text, num_samples=2, generator=torch.Generator().manual_seed(0)).total_nats.item())
"""


def test_what_is_pushed_loads_without_the_package_or_without_its_import(pushed, run, without_package):
    bare, installed = run(NOT_INSTALLED, **without_package), run(INSTALLED)
    assert bare["installed"] == "None" and bare["latents"] == "discrete" and bare["pushed on"] == "True"
    assert bare["classes"] == "LaddForDiffusionLM LaddModel" and installed["local class"] == "True"
    assert bare["logits"] == installed["logits"] and bare["bound"] == installed["bound"]
    assert installed["classes"] == "True True" and installed["scheduler"] == "True 1"
    assert installed["texts"] == pushed["texts"]
    assert "trust_remote_code=True" in installed["not trusted"]
