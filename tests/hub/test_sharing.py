"""Models and pipelines are pushed to a Hub and pulled from it by another process with an empty cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.hub import LoopbackHub

TESTS = Path(__file__).resolve().parents[1]
PUSH = """
import torch
from conftest import _stirred_model
from helpers.sampling import tiny_tokenizer
from ladd_hf import LaddPipeline, LaddSequentialScheduler

model = _stirred_model("discrete")
model.push_to_hub("tester/model")
pipe = LaddPipeline(model, LaddSequentialScheduler(max_latent_steps=1), tiny_tokenizer())
pipe.push_to_hub("tester/pipeline")
first = pipe(num_steps=3, batch_size=2, generator=torch.Generator().manual_seed(0)).texts
print("texts", first)
"""
PULL = """
import torch
from ladd_hf import LaddForDiffusionLM, LaddPipeline
from conftest import _stirred_model

model, source = LaddForDiffusionLM.from_pretrained("tester/model"), _stirred_model("discrete")
for name, value in source.state_dict().items():
    assert torch.equal(model.state_dict()[name], value), name
pipe = LaddPipeline.from_pretrained("tester/pipeline")
assert pipe.scheduler.config.max_latent_steps == 1
print("texts", pipe(num_steps=3, batch_size=2, generator=torch.Generator().manual_seed(0)).texts)
"""
MISSING = """
from ladd_hf import LaddPipeline
LaddPipeline.from_pretrained("tester/nothing")
"""
REVISIONS = """
import sys
from ladd_hf import LaddPipeline
pipe = LaddPipeline.from_pretrained("tester/pipeline", revision=sys.argv[1])
print("vocabulary", pipe.model.config.vocab_size)
"""


@pytest.fixture(scope="module")
def hub():
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture(scope="module")
def run(hub, tmp_path_factory):
    """`run(code, *arguments)`: in a process of its own, with an empty cache."""

    def run(code, *arguments):
        environment = {**os.environ, **hub.environment(tmp_path_factory.mktemp("home")), "PYTHONPATH": str(TESTS)}
        environment.pop("HF_HUB_OFFLINE", None)
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)

    return run


@pytest.fixture(scope="module")
def pushed(run):
    process = run(PUSH)
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


def last_line(output):
    return [line for line in output.splitlines() if line.startswith("texts")][-1]


def test_what_is_pulled_is_what_was_pushed(pushed, run):
    process = run(PULL)
    assert process.returncode == 0, process.stderr[-3000:]
    assert last_line(process.stdout) == last_line(pushed)


def test_a_pushed_pipeline_is_a_whole_folder(pushed, hub):
    _, files = hub.state.at("tester/pipeline", "main")
    assert {"model_index.json", "model/config.json", "model/model.safetensors"} <= set(files)
    assert {"scheduler/scheduler_config.json", "tokenizer/tokenizer.json"} <= set(files)


def test_a_revision_is_pulled_by_its_name(pushed, hub, run):
    revision, files = hub.state.at("tester/pipeline", "main")
    hub.state.add("tester/pipeline", {"model_index.json": b"{}"}, set())  # a later commit that spoils it
    try:
        process = run(REVISIONS, revision)
        assert process.returncode == 0 and "vocabulary 11" in process.stdout, process.stderr[-3000:]
    finally:
        hub.state.add("tester/pipeline", files, set())


def test_a_repository_that_does_not_exist_is_named(pushed, run):
    process = run(MISSING)
    assert process.returncode != 0
    assert "RepositoryNotFoundError" in process.stderr and "tester/nothing" in process.stderr
