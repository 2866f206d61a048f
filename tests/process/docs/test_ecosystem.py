"""The page on the ecosystem runs as printed, against a Hub on loopback, and names commands that exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from helpers.examples import recipes
from helpers.hub import LoopbackHub

from ladd_hf import LaddConfig, LaddTrainingArguments

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "ecosystem.md").read_text()
RUNS_IT = 'from helpers.printed_blocks import run_page; run_page("docs/ecosystem.md")'


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


def test_its_commands_name_scripts_files_and_flags_that_exist():
    kinds = (LaddTrainingArguments, LaddConfig, recipes.RunArguments)
    known = {field.name for kind in kinds for field in fields(kind)}
    lines = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 9
    for line in lines:
        words = shlex.split(line)
        (script,) = [word for word in words if word.endswith(".py")]
        (job,) = re.findall(r"^from ladd_hf\.cli\.(\w+) import main$", (ROOT / script).read_text(), re.MULTILINE)
        source = (ROOT / "src" / "ladd_hf" / "cli" / f"{job}.py").read_text()
        of_launch, of_script = words[: words.index(script)], words[words.index(script) + 1 :]
        for word in of_launch:
            assert not word.endswith(".yaml") or (ROOT / word).is_file(), word
        for flag in (word[2:] for word in of_script if word.startswith("--")):
            assert re.search(rf"^    {flag}:|\"--{flag}\"", source, re.MULTILINE) or flag in known, flag
