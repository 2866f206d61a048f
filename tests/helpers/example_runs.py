"""Runs of the example that trains, with a few steps and samples: in this process, or in one of its own."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from helpers.examples import train_ladd

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = "examples/train_ladd.py"
TINY = [
    *("--max_steps", "4", "--warmup_steps", "1", "--per_device_train_batch_size", "8"),
    *("--num_samples", "20", "--budgets", "1", "2", "4", "--num_eval_sequences", "10", "--logging_steps", "1"),
    *("--cpu_threads", "1"),  # so small a model is slower on more
]


def train_apart(*flags: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Runs it as a user does."""
    return subprocess.run([sys.executable, *launcher, SCRIPT, *flags], cwd=ROOT, capture_output=True, text=True)


def train(*flags: str) -> subprocess.CompletedProcess[str]:
    """Runs it here, and leaves threads and verbosity as they are: most of a process's time goes into its imports."""
    threads, libraries = torch.get_num_threads(), (transformers_logging, diffusers_logging)
    verbosity = [library.get_verbosity() for library in libraries]
    said, errors, code = io.StringIO(), io.StringIO(), 0
    try:
        with chdir(ROOT), redirect_stdout(said), redirect_stderr(errors), patch("sys.argv", [SCRIPT, *flags]):
            train_ladd.main([*flags, "--use_cpu"])
    except SystemExit as stop:
        code = stop.code
    finally:
        torch.set_num_threads(threads)
        for library, level in zip(libraries, verbosity, strict=True):
            library.set_verbosity(level)
    return subprocess.CompletedProcess(flags, code, said.getvalue(), errors.getvalue())
