"""The main job, made tiny: from data to samples, tables and shareable folders."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from helpers.example_runs import TINY, train, train_apart

from ladd_hf import LaddPipeline, LaddSequentialScheduler


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("run") / "out"
    launcher = ("-m", "accelerate.commands.launch", "--num_processes", "1")
    return folder, train_apart(*TINY, "--output_dir", str(folder), launcher=launcher)


def test_the_main_job_prints_a_table_of_quality_against_evaluations(outcome):
    _, process = outcome
    assert process.returncode == 0, process.stderr[-3000:]
    rows = [line for line in process.stdout.splitlines() if re.match(r"(MDLM|Di-LADD)[ a-z]*  +[\d-]", line)]
    schedules = ["joint", "joint that waits", "sequential"]
    labels = ["MDLM", *(f"Di-LADD {one}{end}" for end in ("", " closes") for one in schedules)]
    assert [row.split("  ")[0] for row in rows] == labels
    assert all(len(row.split()) >= 4 for row in rows)


def test_its_results_are_written_as_json_and_as_a_plot(outcome):
    folder, _ = outcome
    results = json.loads((folder / "results.json").read_text())
    assert set(results["quality"]) == {"MDLM", "Di-LADD joint", "Di-LADD joint that waits", "Di-LADD sequential"}
    assert set(results["quality"]["MDLM"]) == {"1", "2", "4"}
    assert set(results["quality"]["Di-LADD sequential"]) == {"2", "4"}  # one evaluation cannot walk two legs
    assert 0.5 < results["reference"]["nats"] < 0.6
    assert (folder / "results.png").read_bytes().startswith(b"\x89PNG")


def test_both_pipelines_load_and_write_and_have_a_card(outcome):
    folder, _ = outcome
    for name in ("mdlm", "di-ladd"):
        assert (folder / name / "model_index.json").is_file()
        pipeline = LaddPipeline.from_pretrained(folder / name)
        assert pipeline(num_steps=2, batch_size=3).sequences.shape == (3, 32)
        card = (folder / name / "README.md").read_text()
        assert "LaddPipeline.from_pretrained" in card and "Nats" not in card.split("---")[1]
    assert isinstance(LaddPipeline.from_pretrained(folder / "di-ladd").scheduler, LaddSequentialScheduler)


def test_an_output_folder_with_results_is_refused_and_left_as_it_is(outcome):
    folder, _ = outcome
    before = (folder / "results.json").read_text()
    process = train(*TINY, "--output_dir", str(folder))
    assert process.returncode != 0
    assert "already holds the results of a run" in process.stderr
    assert (folder / "results.json").read_text() == before


def test_a_flag_that_does_not_exist_is_named():
    process = train("--config", "examples/configs/sawtooth-di.yaml", "--stepps", "3")
    assert process.returncode != 0
    assert "--stepps 3 is not understood" in process.stderr and "Traceback" not in process.stderr
