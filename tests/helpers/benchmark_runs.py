"""Benchmarks run as scripts in this process: each would import for seconds in one of its own."""

from __future__ import annotations

import io
import runpy
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import datasets
import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"


def run_benchmark(name: str, *flags: object) -> subprocess.CompletedProcess[str]:
    """Runs a script of `benchmarks/` as its command line does, and leaves threads and progress bars as they are.

    The trainings that it starts are processes as ever.
    """
    threads, code, said, errors = torch.get_num_threads(), 0, io.StringIO(), io.StringIO()
    words, path = [f"benchmarks/{name}.py", *map(str, flags)], [str(FOLDER), *sys.path]
    libraries = (datasets, diffusers_logging, transformers_logging)
    bars = (datasets.is_progress_bar_enabled(), *(one.is_progress_bar_enabled() for one in libraries[1:]))
    try:
        with chdir(ROOT), redirect_stdout(said), redirect_stderr(errors), patch("sys.argv", words):
            with patch("sys.path", path):
                runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    except SystemExit as stop:
        code = stop.code
    finally:
        torch.set_num_threads(threads)
        for library, shown in zip(libraries, bars, strict=True):
            (library.enable_progress_bar if shown else library.disable_progress_bar)()
    return subprocess.CompletedProcess(words, code or 0, said.getvalue(), errors.getvalue())
