"""The commands of the README's table run in their order, and leave what they are for."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from helpers.ladd_runs import folder_of_a_reader, run_small
from helpers.printed_blocks import ROOT

import ladd_hf.cli.demo

TABLE = (ROOT / "README.md").read_text().split("## Use it", 1)[1].split("##", 1)[0]
COMMANDS = [shlex.split(command) for command in re.findall(r"`ladd ([^`]+)`", TABLE)]


@pytest.fixture
def shown(monkeypatch):
    """The models of the pages that are started; none is built."""
    found = []

    class Page:
        is_running = False  # as if it had been closed at once

        def __init__(self, models):
            found.append(models)

        def close(self, verbose):
            pass

    monkeypatch.setattr(ladd_hf.cli.demo, "build_page", Page)
    monkeypatch.setattr(ladd_hf.cli.demo, "start", lambda *_, **__: ["http://127.0.0.1:7860/"])
    return found


def test_they_run_in_order(shown, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    with folder_of_a_reader(tmp_path, monkeypatch):
        said = {words[0]: run_small(words, monkeypatch) for words in COMMANDS}
    assert [*said] == ["train", "generate", "demo", "evaluate"] == [words[0] for words in COMMANDS]
    assert (tmp_path / "out" / "own-texts" / "di-ladd" / "model_index.json").is_file()
    assert "step 8 of 8" in said["generate"]
    assert re.findall(r"^(\d)  the file ", said["generate"], re.MULTILINE) == ["1", "2", "3", "4"]
    assert Path(shown[0].name) == Path("out", "own-texts", "di-ladd")  # what the first command trained
    results = {path.stem for path in (tmp_path / "out" / "evaluation").glob("python-docs-*.json")}
    assert results == {"python-docs-di", "python-docs-mdlm"} and all(name in said["evaluate"] for name in results)
