"""`ladd demo` finds the models of its page, and says in a sentence what it cannot do."""

from __future__ import annotations

import sys

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

        def block_thread(self):
            found.append("waits")

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


def test_it_starts_as_asked(started, trained):
    words = ["demo", "out/sawtooth-di/di-ladd", "--port", "7999", "--no-browser", "--cpu"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    (models, port, share, browser), last = started
    assert last == "waits" and result.stdout == "http://127.0.0.1:7999/ (until Ctrl-C)\n"
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


@pytest.mark.parametrize("words", [["nowhere"], ["nowhere", "--beside", "neither"]])
def test_a_model_that_is_not_there_is_a_sentence(words, started, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ladd", "demo", *words])
    result = CliRunner().invoke(app, ["demo", *words])
    said = result.stderr.strip()
    assert result.exit_code == 2 and "\n" not in said and said.startswith("ladd") and not started
