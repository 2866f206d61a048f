"""The main job refuses what cannot work, and samples as the model needs."""

from __future__ import annotations

import json

import pytest
from helpers.example_runs import TINY, train


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
        *flags, "--latent_denoiser", "separate", "--baseline", "false", "--output_dir", str(tmp_path / "out")
    )
    assert process.returncode == 0, process.stderr[-3000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(results["quality"]) == {"Co-LADD sequential"}
    assert {name for name in results["bounds"]["ladd"] if name.endswith("_nats") and "samples" in name} == {
        "eval_samples_sequential_2_nats"
    }
