"""The main job refuses what cannot work, and samples as the model needs."""

from __future__ import annotations

import json

import pytest
from helpers.example_runs import TINY, train

from ladd_hf import LaddPipeline, LaddTunedScheduler


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
    flags += ("--sample_budgets", "2", "--samples_per_budget", "4")
    process = train(
        *flags, "--latent_denoiser", "separate", "--baseline", "false", "--output_dir", str(tmp_path / "out"),
        "--latent_prediction_type", '{"name": "anchors", "count": 4}',
    )  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(results["quality"]) == {"Co-LADD sequential"}
    assert {name for name in results["bounds"]["ladd"] if name.endswith("_nats") and "samples" in name} == {
        "eval_samples_sequential_2_nats"
    }


def test_stages_of_the_results_are_data(tmp_path):
    stages = '[{"name": "encoder", "steps": 0.5, "objective": {"latent_dropout": 0.25}}, "prior"]'
    process = train(*TINY, "--budgets", "2", "--stages", stages, "--output_dir", str(tmp_path / "out"))
    assert process.returncode == 0, process.stderr[-3000:]
    found = json.loads((tmp_path / "out" / "results.json").read_text())["stages"]
    (alone,), (encoder, prior) = found["mdlm"], found["ladd"]
    assert (alone["name"], alone["first_step"], alone["steps"]) == ("joint", 0, 4)
    assert [(one["name"], one["first_step"], one["steps"]) for one in (encoder, prior)] == [
        ("encoder", 0, 2),
        ("prior", 2, 2),
    ]
    assert encoder["objective"]["latent_dropout"] == 0.25 and encoder["objective"]["latent_loss_weight"] == 0
    assert prior["freeze"] == prior["from_average"] == ["encoder"] and "freeze" not in encoder


def test_a_tuned_schedule_is_compared_and_saved_if_it_is_the_last(tmp_path):
    out = tmp_path / "out"
    process = train(*TINY, "--baseline", "false", "--schedules", "joint", "tuned", "--output_dir", str(out))
    assert process.returncode == 0, process.stderr[-3000:]
    quality = json.loads((out / "results.json").read_text())["quality"]
    assert set(quality) == {"Di-LADD joint", "Di-LADD tuned"} and set(quality["Di-LADD tuned"]) == {"1", "2", "4"}
    pipe = LaddPipeline.from_pretrained(out / "di-ladd")
    pipe.set_progress_bar_config(disable=True)
    assert type(pipe.scheduler) is LaddTunedScheduler and pipe.scheduler.table.num_texts == 10
    assert pipe(num_steps=3).nfe == 3


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--unmasking", "first_hitting"), "does not look at times"),
        (("--num_eval_sequences", "0"), "found on held-out sequences"),
    ],
    ids=str,
)
def test_what_cannot_be_tuned_is_refused_before_anything_is_trained(tmp_path, flags, message):
    process = train(*TINY, "--schedules", "joint", "tuned", *flags, "--output_dir", str(tmp_path / "out"))
    assert process.returncode != 0 and message in process.stderr and "Traceback" not in process.stderr
