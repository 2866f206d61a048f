"""The comparison of two checkouts trains in both of them, and tells what differs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TINY = "--max_steps 3 --num_samples 2 --hidden_size=16 --num_hidden_layers=1 --per_device_train_batch_size=2"


def test_a_recipe_that_was_changed_in_one_checkout_is_found(tmp_path):
    new = tmp_path / "new"
    shutil.copytree(ROOT / "examples", new / "examples")
    (new / "src").symlink_to(ROOT / "src")
    recipe = new / "examples" / "configs" / "sawtooth-di.yaml"
    settings = recipe.read_text()
    assert "ema_decay: 0.99\n" in settings
    recipe.write_text(settings.replace("ema_decay: 0.99\n", "ema_decay: 0.1\n"))
    command = [sys.executable, "benchmarks/same_as_before.py", ROOT, new, "--families", "sawtooth di", *TINY.split()]
    command += ["--logging_steps=1", "--json", tmp_path / "x.json"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 1, process.stderr[-3000:]
    found = json.loads((tmp_path / "x.json").read_text())["families"]["sawtooth di"]
    assert not found["same"] and "differ, by up to" in found["differences"]["weights"]
    assert "eval" in found["differences"]["losses"]  # of the average alone; the steps were the same
    assert process.stdout.startswith("sawtooth di: DIFFERENT in losses: ")
