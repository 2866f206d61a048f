"""The main job, made tiny: from data to samples, tables and shareable folders."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from helpers.example_runs import TINY, train

from ladd_hf import LaddPipeline, LaddSequentialScheduler


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("run") / "out"
    launcher = ("-m", "accelerate.commands.launch", "--num_processes", "1")
    return folder, train(*TINY, "--output_dir", str(folder), launcher=launcher)


def test_the_main_job_prints_a_table_of_quality_against_evaluations(outcome):
    _, process = outcome
    assert process.returncode == 0, process.stderr[-3000:]
    rows = [line for line in process.stdout.splitlines() if re.match(r"(MDLM|Di-LADD)[ a-z]*  +[\d-]", line)]
    labels = ["MDLM", "Di-LADD joint", "Di-LADD sequential", "Di-LADD joint closes", "Di-LADD sequential closes"]
    assert [row.split("  ")[0] for row in rows] == labels
    assert all(len(row.split()) >= 4 for row in rows)


def test_its_results_are_written_as_json_and_as_a_plot(outcome):
    folder, _ = outcome
    results = json.loads((folder / "results.json").read_text())
    assert set(results["quality"]) == {"MDLM", "Di-LADD joint", "Di-LADD sequential"}
    assert set(results["quality"]["MDLM"]) == {"1", "2", "4"}
    assert set(results["quality"]["Di-LADD sequential"]) == {"2", "4"}  # one evaluation can not walk two legs
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


@pytest.mark.parametrize(
    ("text", "message"), [("max_step: 3\n", "unknown fields ['max_step']"), (None, "is not a file")]
)
def test_a_wrong_recipe_is_named(tmp_path, text, message):
    recipe = tmp_path / "recipe.yaml"
    if text is not None:
        recipe.write_text(text)
    process = train(str(recipe))
    assert process.returncode != 0
    assert message in process.stderr


def test_a_flag_that_does_not_exist_is_named():
    process = train("--config", "examples/configs/sawtooth-di.yaml", "--stepps", "3")
    assert process.returncode != 0
    assert "--stepps 3 is not understood" in process.stderr and "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--unmasking", "sorted"), "`unmasking` 'sorted' is unknown"),
        (("--latent_solver", "euler"), "'euler' is unknown"),
        (("--quantizer", "none"), "quantizer"),
        (("--latent_type", "both"), "latent_type"),
        (("--size", "XXXL"), "Size 'XXXL' is unknown"),
    ],
    ids=lambda flags: flags[0] if isinstance(flags, tuple) else "",
)
def test_settings_that_can_not_work_are_refused_before_anything_is_trained(tmp_path, flags, message):
    process = train(*TINY, *flags, "--output_dir", str(tmp_path / "out"))
    assert process.returncode != 0
    assert message in process.stderr and "Traceback" not in process.stderr
    assert "loss" not in process.stdout


def test_latents_with_a_denoiser_of_their_own_are_sampled_before_the_tokens(tmp_path):
    flags = ("--config", "examples/configs/sawtooth-co.yaml", *TINY, "--nelbo_paths", "sequential")
    process = train(
        *flags, "--latent_denoiser", "separate", "--baseline", "false", "--output_dir", str(tmp_path / "out")
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert set(json.loads((tmp_path / "out" / "results.json").read_text())["quality"]) == {"Co-LADD sequential"}
