"""The commands of docs/command_line.md run in their order, and do what the page says."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from diffusers.utils import logging as diffusers_logging
from helpers.example_runs import TINY
from huggingface_hub import HfApi, RepoUrl
from transformers.utils import logging as transformers_logging
from typer.testing import CliRunner

import ladd_command.runs
from ladd_command.app import app
from ladd_hf import LaddPipeline
from ladd_hf.training.cost_files import load_cost

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGE = (DOCS / "command_line.md").read_text()
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", "").splitlines()
]
# What makes each run small; later flags count.
_TRAINING = [*TINY, "--hidden_size", "32", "--num_hidden_layers", "1", "--use_cpu"]
_STEPS = ["--max_steps", "3", "--warmup_steps", "1", "--use_cpu"]
SMALL = {
    "train": _TRAINING,
    "write": ["--num_samples", "3", "--cpu"],
    "evaluate": ["--num_samples", "4", "--num_sequences", "2", "--budgets", "2", "--cpu"],
    "tune": ["--num_texts", "2", "--cpu"],
    "finetune": [*_STEPS, "--eval_sequences", "2"],
    "distill": _STEPS,
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the files that the page speaks of, and a Hub to push to."""
    monkeypatch.chdir(tmp_path)
    english = "\n".join(page.read_text() for page in sorted(DOCS.glob("*.md")))
    (tmp_path / "my.txt").write_text(english)
    (tmp_path / "lines.txt").write_text("\n".join(re.findall(r"^[A-Z].{100,}$", english, re.MULTILINE)[:12]))
    monkeypatch.setattr(ladd_command.runs, "launches", lambda processes, flags: False)
    address = RepoUrl("https://hub.example/user/my-texts", endpoint="https://hub.example")
    monkeypatch.setattr(HfApi, "create_repo", lambda self, repository, **options: address)
    commit = type("Commit", (), {"oid": "0123456789"})()
    monkeypatch.setattr(HfApi, "create_commit", lambda self, repository, operations, **options: commit)
    libraries = (transformers_logging, diffusers_logging)
    verbosity = [library.get_verbosity() for library in libraries]
    yield tmp_path
    for library, level in zip(libraries, verbosity, strict=True):
        library.set_verbosity(level)


def test_its_commands_run_in_order(place, monkeypatch):
    said = {}
    for words in COMMANDS:
        words = [*words, *SMALL.get(words[0], [])]
        monkeypatch.setattr(sys, "argv", ["ladd", *words])
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (words, result.output[-2000:], result.exception)
        said.setdefault(words[0], []).append(result.stdout)
    assert {words[0] for words in COMMANDS} == set(said)

    first, second, watched, for_programs = said["generate"]
    assert [line[:3] for line in first.splitlines()[:1]] == ["1  "] and "1  The cat" in second
    assert "3  A " in second and "step 4 of 4" in watched and len(json.loads(for_programs)["samples"]) == 2
    assert all(text.split("  ", 1)[1].startswith("The") for text in said["infill"][0].splitlines() if text[:1] in "123")
    assert sum(1 for _ in (place / "samples.jsonl").open()) == sum(1 for _ in (place / "many.jsonl").open()) == 3
    assert len(json.loads(said["encode"][1])["texts"][0]["latents"]) == 32 == len(said["encode"][0].split())
    assert said["recipes"][1].startswith("# Di-LADD on the documentation of Python's standard library")
    tuned = LaddPipeline.from_pretrained("out/tuned")
    assert type(tuned.scheduler).__name__ == "LaddTunedScheduler" and load_cost("out/tuned")["steps"] == 4
    assert (place / "out" / "adapted" / "pipeline" / "model_index.json").is_file()
    assert LaddPipeline.from_pretrained("out/distilled/pipeline").model.config.latent_flow_map
    assert "https://hub.example/user/my-texts" in said["push"][0]
    assert all(json.loads(said[name][-1]) for name in ("info", "env"))


def test_the_page_names_every_subcommand():
    names = {command.name for command in app.registered_commands if command.name}
    names |= {command.callback.__name__ for command in app.registered_commands if not command.name}
    told = set(re.findall(r"`ladd (\w+)", PAGE)) | {words[0] for words in COMMANDS}
    assert names <= told, names - told


def test_what_it_quotes_is_what_a_run_says():
    (quoted,) = re.findall(r"```\n(my\.txt.*?)```", PAGE, re.DOTALL)
    first, second = quoted.splitlines()
    assert re.fullmatch(r"my\.txt, length 64: [\d,]+ sequences to train on, [\d,]+ held out\.", first)
    shape = r"Recommended: Di-LADD with 32 latents, one for every 2 tokens, out of [\d,]+ codes; stages, in steps: "
    assert re.fullmatch(shape + r"mdlm 666, encoder 300, prior 1,034\. Any flag of --help changes it\.", second)
