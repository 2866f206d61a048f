"""The page on the ecosystem runs as printed, against a Hub on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from helpers.hub import LoopbackHub
from helpers.quickly import START

ROOT = Path(__file__).resolve().parents[3]
RUNS_IT = START + 'from helpers.printed_blocks import run_page; run_page("docs/ecosystem.md")'


def test_its_calls_run_in_order(tmp_path):
    with LoopbackHub() as hub:
        found = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src")])
        environment = {**os.environ, **hub.environment(tmp_path / "home"), "PYTHONPATH": found}
        environment.pop("HF_HUB_OFFLINE", None)
        command = [sys.executable, "-c", RUNS_IT]
        process = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert process.returncode == 0, process.stderr[-3000:]
        assert "0 tokens to write" in process.stdout
        repositories = {name: set(hub.state.at(name, "main")[1]) for name in hub.state.commits}
    assert {"user/model", "user/pipeline", "user/trained", "user/adapter"} <= set(repositories)
    assert {"modeling_ladd.py", "model.safetensors", "tokenizer.json"} <= repositories["user/model"]
    assert "adapter_model.safetensors" in repositories["user/adapter"]
    assert (tmp_path / "my-merged-pipeline" / "model" / "model.safetensors").is_file()
    assert (tmp_path / "my-pipeline" / "README.md").is_file()
