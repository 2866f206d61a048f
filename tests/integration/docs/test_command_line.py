"""The commands of docs/command_line.md run in their order, and do what the page says."""

from __future__ import annotations

import json
import re
import shlex

import pytest
from helpers.examples import recipes, train_ladd
from helpers.ladd_runs import folder_of_a_reader, run_small
from helpers.printed_blocks import ROOT
from huggingface_hub import HfApi, RepoUrl

from ladd_command.app import app
from ladd_command.runs import with_recipe
from ladd_hf import LaddPipeline
from ladd_hf.cli.recommended import number_of_tokens, recommended_stages, told_choice, told_data
from ladd_hf.tasks import TextTask
from ladd_hf.training.cost_files import load_cost

PAGE = (ROOT / "docs" / "command_line.md").read_text()
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for line in block.replace("\\\n", "").splitlines()
]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the files that the page speaks of, and a Hub to push to."""
    address = RepoUrl("https://hub.example/user/my-texts", endpoint="https://hub.example")
    monkeypatch.setattr(HfApi, "create_repo", lambda self, repository, **options: address)
    commit = type("Commit", (), {"oid": "0123456789"})()
    monkeypatch.setattr(HfApi, "create_commit", lambda self, repository, operations, **options: commit)
    with folder_of_a_reader(tmp_path, monkeypatch):
        yield tmp_path


def test_its_commands_run_in_order(place, monkeypatch):
    said = {}
    for words in COMMANDS:
        said.setdefault(words[0], []).append(run_small(words, monkeypatch))
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


def test_what_it_quotes_is_what_a_run_says(place, monkeypatch):
    (quoted,) = re.findall(r"```\n(my\.txt.*?)\n```", PAGE, re.DOTALL)
    trained, held_out = (
        int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:sequences|held)", quoted.splitlines()[0])
    )
    monkeypatch.setattr(TextTask, "num_held_out", held_out)
    subcommand, *flags = COMMANDS[0]
    assert subcommand == "train"
    run, model, _, training = recipes.parse_arguments(with_recipe(flags))
    task, blocks = train_ladd.make_task(run), range(trained)
    config = model.config(task, latents=True, recommended=True, num_tokens=number_of_tokens(blocks, run.length))
    training.stages = recommended_stages(config, training.max_steps)
    assert quoted == f"{told_data(task, blocks)}\n{told_choice(config, training.stage_plan.lengths())}"
