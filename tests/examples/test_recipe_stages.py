"""A recipe in a run of another length: its stages go along, unless a flag says how long they are."""

from __future__ import annotations

import pytest
from helpers.examples import recipe_stages, recipes

scaled_stages, parse_arguments = recipe_stages.scaled_stages, recipes.parse_arguments

RECIPE = {"max_steps": 3000, "mdlm_steps": 1000, "stage_1_steps": 300}


@pytest.mark.parametrize(
    ("flags", "mdlm", "stage_1"),
    [
        (["--max_steps", "600"], 200, 60),
        (["--max-steps=6000"], 2000, 600),
        (["--seed", "1", "--max_steps", "5", "--output_dir", "x"], 2, 1),
        (["--max_steps", "3"], 1, 1),
    ],
)
def test_stages_are_as_long_in_proportion_and_none_is_lost(flags, mdlm, stage_1):
    assert scaled_stages(RECIPE, flags) == {"mdlm_steps": mdlm, "stage_1_steps": stage_1}


def test_rounding_takes_no_stage_2_away():
    for steps in range(2, 40):
        scaled = scaled_stages({"max_steps": 100, "stage_1_steps": 97}, ["--max_steps", f"{steps}"])
        assert 0 < scaled["stage_1_steps"] < steps


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--max_steps", "3000"],
        ["--max_steps", "600", "--stage_1_steps", "60"],
        ["--max_steps", "600", "--mdlm-steps=60"],
        ["--max_steps", "600", "--latent_warmup_steps", "6"],
        ["--max_steps", "many"],
        ["--num_samples", "600"],
    ],
)
def test_otherwise_the_recipe_and_the_flags_mean_what_they_say(flags):
    assert scaled_stages(RECIPE, flags) == {}


def test_shares_are_shares_of_any_run():
    settings = {"max_steps": 100, "mdlm_steps": 0.25, "stage_1_steps": 20, "latent_warmup_steps": 0}
    assert scaled_stages(settings, ["--max_steps", "50"]) == {"stage_1_steps": 10}


def test_every_two_stage_recipe_runs_for_a_few_steps_and_says_what_became_of_its_stages(capsys):
    *_, training = parse_arguments(["--max_steps", "5"])
    assert training.stages.stage_1_steps == 3 and training.max_steps == 5
    assert capsys.readouterr().out == (
        "The recipe's stages are scaled along with --max_steps 5: stage_1_steps 500 -> 3.\n"
    )
    *_, training = parse_arguments(["--max_steps", "5", "--stage_1_steps", "0.5"])
    assert training.stages.stage_1_steps == 3 and not capsys.readouterr().out
