"""`ladd demo` finds the models of its page, and says in a sentence what it cannot do."""

from __future__ import annotations

import sys

import pytest
from helpers.pages import letters
from typer.testing import CliRunner

import ladd_hf.cli.demo as job
from ladd_command.app import app
from ladd_hf.cli.demo import baseline_of, default_model, models_of


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
    monkeypatch.setattr(job, "included_pipelines", lambda: [])
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


def test_the_included_model_comes_first_and_the_default_recipes_else(trained, monkeypatch):
    assert default_model() == "out/sawtooth-di/di-ladd"
    monkeypatch.setattr(job, "included_pipelines", lambda: ["python-docs-di", "python-docs-mdlm"])
    assert default_model() == "python-docs-di" and baseline_of("python-docs-di") == "python-docs-mdlm"


@pytest.mark.parametrize("words", [[], ["nowhere"], ["nowhere", "--beside", "neither"]])
def test_a_model_that_is_not_there_is_a_sentence(words, started, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(job, "included_pipelines", lambda: [])
    monkeypatch.setattr(sys, "argv", ["ladd", "demo", *words])
    result = CliRunner().invoke(app, ["demo", *words])
    said = result.stderr.strip()
    assert result.exit_code == 2 and "\n" not in said and said.startswith("ladd") and not started
