"""Ctrl-C ends a training, however many processes it has, with one sentence about what is kept."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers.interrupts import interruptible

SOURCE = Path(__file__).resolve().parents[3] / "src"
TINY = "--length 8 --hidden_size 32 --num_hidden_layers 1 --max_steps 20000 --warmup_steps 1 --use_cpu --cpu_threads 1"
TINY += " --per_device_train_batch_size 4 --num_samples 8 --budgets 2 --num_eval_sequences 4"
LOGS = "--logging_steps 30 --save_strategy steps --save_steps 20"


@pytest.fixture
def running(tmp_path):
    """`running(*words)`: `ladd` with these words in a process group of its own, as in a terminal, and its output."""
    started = []

    def run(*words):
        command = [sys.executable, "-m", "ladd_command", *map(str, words)]
        found = os.pathsep.join([str(SOURCE), *filter(None, [os.getenv("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": found, "CUDA_VISIBLE_DEVICES": ""}
        with (tmp_path / "out.txt").open("w") as out, (tmp_path / "err.txt").open("w") as err:
            process = interruptible(command, cwd=tmp_path, env=environment, stdout=out, stderr=err)
        started.append(process)
        return process, tmp_path / "out.txt", tmp_path / "err.txt"

    yield run
    for process in started:
        if process.poll() is None:
            for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                one.kill()
            process.wait()


@pytest.mark.parametrize("processes", [1, 2])
def test_an_interrupt_ends_all_processes_and_says_what_is_kept(running, tmp_path, processes):
    words = ["train", "sawtooth-mdlm", "--processes", processes, *TINY.split(), *LOGS.split()]
    process, out, err = running(*words, "--output_dir", "run")
    deadline = time.monotonic() + 300
    while "\n  step     30/20000" not in out.read_text():
        assert process.poll() is None and time.monotonic() < deadline, out.read_text() + err.read_text()[-3000:]
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= (processes if processes > 1 else 0)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(timeout=120) == 130, err.read_text()[-3000:]
    said = [line for line in err.read_text().splitlines() if line]
    told = [
        re.match(r"Stopped at step [\d,]+ of 20,000; checkpoint-(\d+) is kept in (\S+): the same", line)
        for line in said
    ]
    (found,) = filter(None, told)
    assert int(found[1]) >= 20 and (tmp_path / found[2] / f"checkpoint-{found[1]}" / "checkpoint.json").is_file()
    assert said.count("ladd: stopped.") == 1 and said[-1] == "ladd: stopped.", said
    assert "death signal" not in err.read_text(), "torch's own word for it"
    assert "Traceback" not in err.read_text(), err.read_text()[-3000:]
    assert psutil.wait_procs(family, timeout=30)[1] == []
