"""`ladd` in several processes that it starts itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3] / "src"
TINY = "--length 8 --max_steps 3 --warmup_steps 1 --per_device_train_batch_size 4 --num_samples 8 --budgets 2"


def ladd(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ladd_command", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), *filter(None, [os.getenv("PYTHONPATH")])])}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def test_two_processes_train_one_model_or_refuse_once(tmp_path):
    (tmp_path / "datasets.py").write_text("raise SystemExit('a file of the working directory was imported')")
    words = ["train", "sawtooth-mdlm", "--processes", 2, *TINY.split(), "--num_eval_sequences", 4, "--use_cpu"]
    trained = ladd(*words, "--output_dir", "out", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr[-3000:]
    card = (tmp_path / "out" / "mdlm" / "README.md").read_text()
    assert "ladd train sawtooth-mdlm --processes 2 --length 8" in card and "| hardware | 2 x " in card
    refused = ladd(*words, "--output_dir", "out", cwd=tmp_path)
    said = [line for line in refused.stderr.splitlines() if "error:" in line or "Traceback" in line]
    assert (refused.returncode, len(said)) == (2, 1), refused.stderr[-3000:]
    assert said[0].startswith("ladd train: error: out already holds the results of a run: give another --output_dir")
