"""`ladd info`, `recipes`, `env` and `push`."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from helpers.training import texts as rows
from huggingface_hub import HfApi, RepoUrl

from ladd_hf import LaddSequentialScheduler, included_pipeline
from ladd_hf.cli.command_line import _OF_THE_HUB, loading, refusing
from ladd_hf.cli.recipe_files import CONFIGS
from ladd_hf.training.model_card import Conditions, SampleScores

COMMAND = "ladd train own-texts --data 'my texts.txt'"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, request):
    """The folder of a pipeline with the card of its run."""
    return tmp_path_factory.mktemp("trained") / "pipeline"


@pytest.fixture
def pipeline(trained, make_trainer):
    if trained.is_dir():
        return trained
    trainer = make_trainer("discrete", eval_data=rows(6))
    trainer.train()
    trainer.evaluate()
    conditions = Conditions("letters", "float32", 0, "a CPU")
    scores = SampleScores({"sequential": {2: 1.5, 4: 1.25}}, "nats", "Nats.", conditions, 10)
    card = trainer.model_card("Di-LADD on letters", "user/letters", "a|b_c letters", command=COMMAND, samples=scores)
    trainer.save_pipeline(str(trained), LaddSequentialScheduler(latent_share=0.75), card)
    return trained


def test_a_model_tells_its_kind_sizes_schedule_training_and_scores(ladd, pipeline):
    document = ladd("info", pipeline, "--json").document
    assert (document["kind"], document["sizes"]["hidden_size"], document["sizes"]["length"]) == ("Di-LADD", 32, 12)
    assert document["latents"]["latent_length"] == 4 and document["latents"]["codebook_size"] == 9
    assert document["schedule"] == {"class": "LaddSequentialScheduler", "options": {"latent_share": 0.75}}
    training = document["training"]
    assert training["command"] == COMMAND and training["EMA decay"] == "0.9" and training["cost"]["steps"] == 6
    found = {one["metric"]: one["value"] for one in document["scores"]}
    assert found["nats (sequential, num_steps=4)"] == 1.25
    assert any(metric.startswith("bound on nats per token") for metric in found)


def test_people_read_the_same_facts(ladd, pipeline):
    said = ladd("info", pipeline)
    assert "kind           Di-LADD" in said.lines and f"command        {COMMAND}" in said.lines
    assert "schedule       LaddSequentialScheduler with latent_share 0.75" in said.lines
    assert any(line.endswith("1.5000  nats (sequential, num_steps=2), letters, temperature 1") for line in said.lines)


def test_an_included_pipeline_tells_the_scores_of_its_own_weights_and_temperatures(ladd):
    card = (Path(included_pipeline("python-docs-di")) / "README.md").read_text()
    (told,) = re.findall(r"## As it is here\n.*?\| nats per character \| (.*?) \|\n", card, re.DOTALL)
    document = ladd("info", "python-docs-di", "--json").document
    scores = [one for one in document["scores"] if one["metric"].startswith("nats per character")]
    assert [f"{one['value']:.2f} ± {one['stderr']:.2f}" for one in scores] == told.split(" | ")
    assert {(one["temperature"], one["latent_temperature"]) for one in document["scores"]} == {(0.6, 0.6)}
    assert document["training"]["command"].startswith("ladd train python-docs-di ")
    assert any(line.endswith(", temperature 0.6, 0.6 of latents") for line in ladd("info", "python-docs-di").lines)


def test_a_model_without_a_card_tells_what_its_configuration_says(ladd, models):
    document = ladd("info", models / "none", "--json").document
    assert (document["kind"], document["latents"], document["training"]) == ("MDLM", None, {})
    assert document["weights"] > 1000 and document["scores"] == []
    of_model = ladd("info", models / "none" / "model", "--json").document
    assert of_model["schedule"] is None and of_model["weights"] == document["weights"]


def test_weights_that_are_a_pointer_to_them_are_refused(ladd, tmp_path, tiny_model):
    tiny_model("none").save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "holds no weights" in ladd("info", tmp_path).refusal


def test_a_hub_that_does_not_answer_is_told_in_a_sentence(capsys):
    told = "The Hub cannot be reached, or does not answer as it should"
    for context, said in ((refusing(), told), (loading("user/a"), "user/a cannot be loaded")):
        with pytest.raises((SystemExit, ValueError)) as raised, context:
            raise _OF_THE_HUB("connection refused")
        assert said in f"{raised.value} {capsys.readouterr().err}"


def test_a_folder_without_a_model_is_refused(ladd, tmp_path):
    assert "it holds neither a pipeline nor a model" in ladd("info", tmp_path).refusal
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert "type 'bert', which is not 'ladd'" in ladd("info", tmp_path).refusal
    (tmp_path / "file").write_text("")
    assert "there is no such folder" in ladd("info", tmp_path / "file").refusal


# --- recipes ---


def test_all_included_recipes_are_listed_with_their_first_comment(ladd):
    found = ladd("recipes", "--json").document
    names = [one["name"] for one in found]
    assert sorted(names) == sorted(file.stem for file in CONFIGS.glob("*.yaml")) and all(one["about"] for one in found)
    said = ladd("recipes").lines
    assert [line.split("  ")[0] for line in said if not line.startswith(" ")] == names
    told = " ".join(" ".join(said).split())
    for one in found:
        assert " ".join(f"{one['name']} {one['about']}".split()) in told, "with the whole comment"
        assert one["about"].endswith("."), "which ends where a sentence does"


def test_recipes_are_listed_from_the_quickest_to_the_longest(ladd):
    places = {one["name"]: place for place, one in enumerate(ladd("recipes", "--json").document)}
    chain = ("sawtooth-di", "own-texts", "python-docs-di", "python-docs-gpu-di", "lm1b-di-32", "text8-mdlm", "owt-mdlm")
    assert sorted(chain, key=places.get) == list(chain)


def test_a_recipe_is_printed_as_it_is_written_and_as_it_works(ladd):
    file = CONFIGS / "python-docs-di.yaml"
    assert ladd("recipes", "python-docs-di").out == file.read_text()
    settings = ladd("recipes", "python-docs-di", "--json").document["settings"]
    own = yaml.safe_load(file.read_text())
    assert settings["data"] == "python-docs" and "base" not in settings, "with the settings of its bases"
    assert {name: settings[name] for name in own if name != "base"} == {n: v for n, v in own.items() if n != "base"}
    assert "did you mean python-docs-di?" in ladd("recipes", "python-docs-dj").refusal


# --- env ---


def test_versions_and_devices_are_told(ladd):
    document = ladd("env", "--json").document
    assert document["packages"]["torch"] == version("torch") and document["devices"]
    lines = dict(line.split(maxsplit=1) for line in ladd("env").lines)
    assert lines["transformers"] == version("transformers") and lines["Python"] == document["Python"]


# --- push ---


@pytest.fixture
def hub(monkeypatch):
    """What would have been pushed: repositories and the files of their commits."""
    pushed = {}

    def create_repo(self, repository, **options):
        pushed[repository] = {"private": options["private"]}
        return RepoUrl(f"https://hub.example/{repository}", endpoint="https://hub.example")

    def create_commit(self, repository, operations, **options):
        files = {one.path_in_repo: one for one in operations}
        pushed[repository] |= {"files": files, "message": options["commit_message"]}
        return type("Commit", (), {"oid": "0123456789abcdef"})()

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    return pushed


def test_a_pipeline_is_pushed_with_its_card_and_nothing_of_its_run(ladd, pipeline, hub):
    (pipeline / "checkpoint-3").mkdir(exist_ok=True)
    (pipeline / "checkpoint-3" / "optimizer.pt").write_text("")
    said = ladd("push", pipeline, "me/letters", "--private", "--message", "First")
    assert said.lines[-1].endswith("files in https://hub.example/me/letters, commit 01234567")
    pushed = hub["me/letters"]
    assert pushed["private"] is True and pushed["message"] == "First"
    names = set(pushed["files"])
    assert {"README.md", "model_index.json", "model/model.safetensors", "training_cost.json"} <= names
    assert not any("checkpoint" in name or "__pycache__" in name for name in names)
    card = pushed["files"]["README.md"].path_or_fileobj.decode()
    assert 'from_pretrained("me/letters")' in card and "user/letters" not in card
    document = ladd("push", pipeline, "me/letters", "--json").document
    assert document["repository"] == "me/letters" and set(document["files"]) == names


def test_what_does_not_load_is_not_pushed(ladd, hub, tmp_path):
    assert "cannot be loaded" in ladd("push", tmp_path, "me/empty").refusal
    assert "is not a folder; give one that holds a pipeline" in ladd("push", "user/model", "me/other").refusal
    assert not hub
