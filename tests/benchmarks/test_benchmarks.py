"""Every benchmark runs, made tiny, and writes what it prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_sampling_overhead_prints_a_ratio_for_each_schedule(tmp_path):
    sizes = "--vocabularies 8 --hidden_size 16 --layers 1 --length 16 --batch_size 2 --num_steps 2 --rounds 1"
    command = [sys.executable, "benchmarks/sampling_overhead.py", *sizes.split(), "--json", str(tmp_path / "out.json")]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert {(row["latents"], row["schedule"]) for row in rows} == {
        ("none", "joint"),
        ("continuous", "joint"),
        ("continuous", "sequential"),
        ("discrete", "joint"),
        ("discrete", "sequential"),
    }
    assert all(row["ratio"] > 0 for row in rows)


def test_the_gap_benchmark_lists_its_options():
    process = subprocess.run(
        [sys.executable, "benchmarks/sawtooth_gap.py", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert process.returncode == 0
    assert "--seeds" in process.stdout
