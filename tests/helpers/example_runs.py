"""Runs of the example that trains, in a process of their own, with a few steps and samples."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    *("--max_steps", "4", "--warmup_steps", "1", "--per_device_train_batch_size", "8"),
    *("--num_samples", "20", "--budgets", "1", "2", "4", "--num_eval_sequences", "10", "--logging_steps", "1"),
]


def train(*flags: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, "examples/train_ladd.py", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
