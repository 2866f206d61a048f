"""Pushed models and pipelines load without this package installed, or imported."""

from __future__ import annotations

import json

import pytest
from helpers.encoders import save_encoder

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


def test_what_is_pushed_loads_without_the_package_or_without_its_import(pushed, run, kinds):
    (_, bare, _), installed = kinds, run(INSTALLED)
    assert bare["installed"] == "None" and bare["latents"] == "discrete" and bare["pushed on"] == "True"
    assert bare["classes"] == "LaddForDiffusionLM LaddModel" and installed["local class"] == "True"
    assert bare["logits"] == installed["logits"] and bare["bound"] == installed["bound"]
    assert installed["classes"] == "True True" and installed["scheduler"] == "True 1"
    assert installed["texts"] == pushed["texts"]
    assert "trust_remote_code=True" in installed["not trusted"]


KINDS = ("none", "vector", "gumbel", "pretrained")
COMPUTE = """
def computed(model):
    text = torch.arange(1, 7)[None]
    bound = model.nelbo(text, num_samples=2, generator=torch.Generator().manual_seed(0)).total_nats.item()
    torch.manual_seed(0)
    return bound, None if model.config.latent_type == "none" else model.encode_latents(text).double().sum().item()
"""
PUSH_KINDS = (
    """
import sys, torch
from conftest import _stirred_model
from ladd_hf import LaddForDiffusionLM
"""
    + COMPUTE
    + """
for kind in sys.argv[3:]:
    pretrained = {"encoder_name_or_path": sys.argv[1]} if kind == "pretrained" else {}
    model = _stirred_model("continuous" if pretrained else kind, **pretrained)
    model.push_to_hub(f"tester/{kind}")
    print(f"{kind}:", computed(LaddForDiffusionLM.from_pretrained(f"tester/{kind}")))
_stirred_model("vector").save_pretrained(sys.argv[2], push_to_hub=True, repo_id="tester/saved")
"""
)
LOAD_KINDS = (
    NOT_INSTALLED  # in the same process, since each takes seconds to import what it needs
    + COMPUTE
    + """
import sys
for kind in sys.argv[1:]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "vector_quantize_pytorch"]:
        del sys.modules[name]
    if kind != "vector":
        sys.modules["vector_quantize_pytorch"] = None  # as where it is not installed
    model = AutoModelForMaskedLM.from_pretrained(f"tester/{kind}", trust_remote_code=True)
    print(f"{kind}:", computed(model))
    model.push_to_hub(f"tester/{kind}-again")
"""
)


def code_of(files, folder=""):
    """The modules among the files of a commit, by name."""
    return {name: data for name, data in files.items() if name.endswith(".py") and name.startswith(folder)}


@pytest.fixture(scope="module")
def kinds(pushed, run, without_package, tmp_path_factory):
    """Output of the process that pushed a model of each kind, and of the one without the package that loaded them, and
    the model of `pushed` before them; and the folder of a model that was saved as it was pushed."""
    encoder, saved = save_encoder(tmp_path_factory.mktemp("encoder"), "bert"), tmp_path_factory.mktemp("saved")
    sent = run(PUSH_KINDS, encoder, saved, *KINDS)
    return sent, run(LOAD_KINDS, *KINDS, **without_package), saved


@pytest.mark.parametrize("kind", KINDS)
def test_it_computes_the_same_with_the_libraries_of_its_kind_alone(kinds, kind):
    sent, loaded, _ = kinds
    assert loaded["installed"] == "None"
    assert loaded[kind] == sent[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_pushed_on_from_remote_code_is_the_same_again(kinds, hub, kind):
    first, again = (hub.state.at(f"tester/{name}", "main")[1] for name in (kind, f"{kind}-again"))
    assert code_of(again) == code_of(first) != {}
    assert again["model.safetensors"] == first["model.safetensors"]
    of_first, of_again = (json.loads(files["config.json"])["auto_map"] for files in (first, again))
    assert of_again == of_first
    assert set(of_first) == {"AutoConfig", "AutoModel", "AutoModelForMaskedLM"}
    assert all(f"{entry.split('.')[0]}.py" in first for entry in of_first.values())


def test_saving_with_a_push_takes_the_code_along_as_a_push_does(kinds, hub):
    pushed, saved = (hub.state.at(f"tester/{name}", "main")[1] for name in ("vector", "saved"))
    assert code_of(saved) == code_of(pushed) != {}
    assert saved["config.json"] == pushed["config.json"] and b"auto_map" in saved["config.json"]
