"""`ladd demo` finds the models of its page, and says in a sentence what it cannot do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from helpers.pages import letters
from typer.testing import CliRunner

import ladd_hf.cli.demo as job
from ladd_command.app import app
from ladd_hf.cli.demo import baseline_of, models_of


@pytest.fixture
def started(monkeypatch):
    """What the page was started with; none is built."""
    found = []

    class Page:
        def __init__(self, models):
            self.models = models

        @property
        def is_running(self):
            found.append("waits")
            if len(found) > 3:
                raise KeyboardInterrupt
            return True

        def close(self, verbose):
            found.append("closed")

    def start(page, port, share, browser):
        found.append((page.models, port, share, browser))
        return ["http://127.0.0.1:7999/"]

    monkeypatch.setattr(job, "build_page", Page)
    monkeypatch.setattr(job, "start", start)
    return found


@pytest.fixture
def trained(stirred_model, tmp_path, monkeypatch):
    """The folders that a training leaves, below the working directory."""
    monkeypatch.chdir(tmp_path)
    for name, kind in (("di-ladd", "vector"), ("mdlm", "none")):
        letters(stirred_model(kind)).save_pretrained(f"out/sawtooth-di/{name}")


def test_it_starts_as_asked_and_is_closed_by_an_interrupt(started, trained):
    words = ["demo", "out/sawtooth-di/di-ladd", "--port", "7999", "--no-browser", "--cpu"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 130 and result.stderr == "ladd: stopped.\n", result.output
    (models, port, share, browser), *waited, last = started
    assert set(waited) == {"waits"} and last == "closed" and result.stdout == "http://127.0.0.1:7999/ (until Ctrl-C)\n"
    assert (port, share, browser) == (7999, False, False)
    assert models.titles == ("di-ladd", "mdlm") and models.beside.model.config.latent_type == "none"


def test_another_may_stand_beside_it(started, trained):
    models = models_of("out/sawtooth-di/di-ladd", "out/sawtooth-di/di-ladd", cpu=True)
    assert models.beside_name == models.name


def test_an_mdlm_has_none_beside_it(trained):
    assert baseline_of("out/sawtooth-di/mdlm") is None


def test_an_mdlm_of_a_folder_that_is_not_there_is_not_looked_for(trained, monkeypatch):
    monkeypatch.chdir("out/sawtooth-di")
    assert baseline_of(".") is None and baseline_of("user/model") is None and baseline_of("python-docs-mdlm") is None
    monkeypatch.chdir("di-ladd")
    assert baseline_of(".") == "../mdlm" and models_of(".", cpu=True).titles == ("di-ladd", "mdlm")


def test_the_included_model_is_the_default_with_its_mdlm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models = models_of(None, cpu=True)
    assert (models.name, models.beside_name, models.cpu) == ("python-docs-di", "python-docs-mdlm", True)


@pytest.fixture
def trainings(stirred_model, tmp_path, monkeypatch):
    """Saves a pipeline in a folder below `out`, a minute after the one before."""
    monkeypatch.chdir(tmp_path)
    saved = []

    def train(folder, kind="vector", tokenizer=True):
        letters(stirred_model(kind), tokenizer=tokenizer).save_pretrained(f"out/{folder}")
        saved.append(folder)
        os.utime(f"out/{folder}/model_index.json", times=(60 * len(saved),) * 2)

    return train


def test_the_newest_model_of_texts_in_out_is_the_default(started, trainings):
    trainings("own-texts/di-ladd")
    trainings("own-texts/mdlm", "none")
    assert models_of(None, cpu=True).titles == ("di-ladd", "mdlm")
    trainings("adapted")
    trainings("sawtooth-di/di-ladd", tokenizer=False)
    result = CliRunner().invoke(app, ["demo", "--no-browser", "--cpu"])
    assert result.exit_code == 130, result.output
    models = started[0][0]
    assert models.name == os.path.join("out", "adapted") and models.beside is None
    first, last = result.stdout.splitlines()
    assert first.startswith(f"{models.name} is the newest") and "ladd demo python-docs-di" in first
    assert last.startswith("http://")


def test_what_has_no_texts_or_cannot_be_read_is_not_the_default(trainings):
    trainings("sawtooth-di/di-ladd", tokenizer=False)
    trainings("sawtooth-di/mdlm", "none")
    for folder, index in (("cut", "{"), ("list", "[]"), ("another", "{}"), ("odd", '{"tokenizer": null}')):
        Path("out", folder).mkdir()
        Path("out", folder, "model_index.json").write_text(index)
    assert models_of(None, cpu=True).name == "python-docs-di"


@pytest.mark.parametrize("words", [["nowhere"], ["nowhere", "--beside", "neither"]])
def test_a_model_that_is_not_there_is_a_sentence(words, started, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ladd", "demo", *words])
    result = CliRunner().invoke(app, ["demo", *words])
    said = result.stderr.strip()
    assert result.exit_code == 2 and "\n" not in said and said.startswith("ladd") and not started
