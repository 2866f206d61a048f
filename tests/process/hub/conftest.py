"""A Hub on loopback, and processes that know no other."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from helpers.hub import LoopbackHub
from helpers.quickly import START

import ladd_hf

# The tests, and the package that they import, wherever that is installed.
PATHS = os.pathsep.join(map(str, (Path(__file__).resolve().parents[2], Path(ladd_hf.__file__).resolve().parents[1])))


@pytest.fixture(scope="package")
def hub():
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture(scope="package")
def run(hub, tmp_path_factory):
    """`run(code, *arguments, flags=(), **environment)`: what a process of its own, with an empty cache, prints as
    `name: value`, by name. It must end well."""

    def run(code, *arguments, flags=(), **environment):
        variables = {**os.environ, **hub.environment(tmp_path_factory.mktemp("home")), "PYTHONPATH": PATHS}
        variables |= environment
        variables.pop("HF_HUB_OFFLINE", None)
        command = [sys.executable, *flags, "-c", START + code, *map(str, arguments)]
        process = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
        assert process.returncode == 0, process.stderr[-3000:]
        return dict(line.split(": ", 1) for line in process.stdout.splitlines() if ": " in line)

    return run


@pytest.fixture(scope="package")
def without_package(tmp_path_factory):
    """Options of `run` for an environment with every installed package but this one."""
    folder = tmp_path_factory.mktemp("site")
    for path in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(path).iterdir():
            if not entry.name.startswith(("ladd_hf", "_ladd_hf", "__editable__")) and entry.suffix != ".pth":
                (folder / entry.name).symlink_to(entry)
    return {"flags": ("-S",), "PYTHONPATH": str(folder)}  # -S: no site-packages but what the path names


PUSH = """
import torch
from conftest import _stirred_model
from helpers.sampling import tiny_tokenizer
from huggingface_hub import ModelCard
from peft import LoraConfig
from ladd_hf import LaddJointScheduler, LaddPipeline, LaddSequentialScheduler

model, tokenizer = _stirred_model("discrete"), tiny_tokenizer()
model.push_to_hub("tester/model", private=False)
model.push_to_hub("tester/spoilt")
tokenizer.push_to_hub("tester/model")
ModelCard("---\\nlicense: apache-2.0\\n---\\n# A card of its own\\n").push_to_hub("tester/model")
LaddSequentialScheduler(latent_share=0.25).push_to_hub("tester/scheduler")
pipe = LaddPipeline(model, LaddSequentialScheduler(max_latent_steps=1), tokenizer)
pipe.push_to_hub("tester/pipeline")
print("texts:", pipe(num_steps=3, batch_size=2, generator=torch.Generator().manual_seed(0)).texts)

model = _stirred_model("none")
model.push_to_hub("tester/base")
model.config._name_or_path = model.name_or_path = "tester/base"
torch.manual_seed(1)
model.add_adapter(LoraConfig(target_modules=["qkv_proj"], init_lora_weights=False), "small")
model.push_to_hub("tester/adapter")
print("logits:", model(torch.arange(6)[None]).logits[0, :, :10].double().sum().item())
"""


@pytest.fixture(scope="package")
def pushed(run):
    """Output of the process that pushed everything."""
    return run(PUSH)
