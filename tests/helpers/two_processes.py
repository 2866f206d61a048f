"""A test's own file as a script of two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import ladd_hf
from helpers.quickly import QUICKLY


def run_twice(script, folder):
    """Runs `script FOLDER` in two processes on the CPU; asserts that both succeed."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")
    environment["PYTHONPATH"] = str(Path(ladd_hf.__file__).parents[1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", QUICKLY]
    run = subprocess.run(
        [*torchrun, script, str(folder)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr[-5000:]
