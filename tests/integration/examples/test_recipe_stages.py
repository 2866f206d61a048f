"""A recipe in a run of another length: its stages go along, unless a flag says how long they are."""

from __future__ import annotations

import json

import pytest
from helpers.examples import recipe_stages, recipes

changed_stages, stages_of_run = recipe_stages.changed_stages, recipe_stages.stages_of_run
parse_arguments = recipes.parse_arguments

STAGES = [{"name": "mdlm", "steps": 1000}, {"name": "encoder", "steps": 300, "objective": {"latent_dropout": 0.1}}]
RECIPE = {"max_steps": 3000, "stages": [*STAGES, "prior"]}


def lengths(stages):
    return {one["name"]: one["steps"] for one in stages if "steps" in one}


@pytest.mark.parametrize(
    ("flags", "mdlm", "encoder"),
    [
        (["--max_steps", "600"], 200, 60),
        (["--max-steps=6000"], 2000, 600),
        (["--seed", "1", "--max_steps", "5", "--output_dir", "x"], 2, 1),
        (["--max_steps", "3"], 1, 1),
    ],
)
def test_stages_are_as_long_in_proportion_and_none_is_lost(flags, mdlm, encoder):
    stages, said = stages_of_run(RECIPE, flags)
    assert lengths(stages) == {"mdlm": mdlm, "encoder": encoder}
    assert said == f"mdlm 1000 -> {mdlm}, encoder 300 -> {encoder}"
    assert stages[1]["objective"] == {"latent_dropout": 0.1} and lengths(RECIPE["stages"][:2])["mdlm"] == 1000


def test_rounding_takes_the_last_stage_no_step_away():
    recipe = {"max_steps": 100, "stages": [{"name": "encoder", "steps": 97}, "prior"]}
    for steps in range(2, 40):
        assert 0 < lengths(stages_of_run(recipe, ["--max_steps", f"{steps}"])[0])["encoder"] < steps


def test_a_ramp_goes_along():
    recipe = {"max_steps": 100, "stages": [{"name": "joint", "ramps": {"latent_loss_weight": {"steps": 50}}}]}
    stages, said = stages_of_run(recipe, ["--max_steps", "10"])
    assert stages[0]["ramps"]["latent_loss_weight"]["steps"] == 5
    assert said == "joint's latent_loss_weight 50 -> 5"


@pytest.mark.parametrize(
    "flags", [[], ["--max_steps", "3000"], ["--max_steps", "many"], ["--num_samples", "600"]], ids=str
)
def test_otherwise_the_recipe_means_what_it_says(flags):
    assert stages_of_run(RECIPE, flags) == (RECIPE["stages"], "")


def test_shares_and_epochs_are_those_of_any_run():
    stages = [
        {"name": "mdlm", "steps": 0.25},
        {"name": "joint", "epochs": 2},
        {"name": "encoder", "steps": 20},
        "prior",
    ]
    scaled, said = stages_of_run({"max_steps": 100, "stages": stages}, ["--max_steps", "50"])
    assert lengths(scaled) == {"mdlm": 0.25, "encoder": 10} and said == "encoder 20 -> 10"


def test_a_flag_gives_other_stages_or_changes_some_of_the_recipes():
    other = '["joint"]'
    assert stages_of_run(RECIPE, ["--max_steps", "600", "--stages", other]) == (other, "")
    shorter = json.dumps({"encoder": {"steps": 60}, "mdlm": None})
    stages, said = stages_of_run(RECIPE, ["--max_steps", "600", "--stages", shorter])
    assert stages == [{**STAGES[1], "steps": 60}, {"name": "prior"}] and not said, (
        "a length is given, so none is scaled"
    )
    dropout = json.dumps({"encoder": {"objective": {"quantizer_dropout": 0.5}}})
    stages, said = stages_of_run(RECIPE, ["--max_steps", "600", f"--stages={dropout}"])
    assert stages[1]["objective"] == {"latent_dropout": 0.1, "quantizer_dropout": 0.5}
    assert lengths(stages) == {"mdlm": 200, "encoder": 60} and said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encodr": {"steps": 3}}, r"`stages` changes 'encodr', and the recipe has the stages \['mdlm', 'encoder'\]"),
        ({"encoder": 3}, "`stages` changes 'encoder' to 3; give a mapping"),
    ],
)
def test_changes_of_what_is_not_there_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        changed_stages(STAGES, changes)


def test_every_two_stage_recipe_runs_for_a_few_steps_and_says_what_became_of_its_stages(capsys):
    *_, training = parse_arguments(["--max_steps", "5"])
    assert training.stage_plan.starts == (0, 3) and training.max_steps == 5
    said = "The recipe's lengths are scaled along with --max_steps 5: encoder 500 -> 3, warm-up 100 -> 0.\n"
    assert capsys.readouterr().out == said and training.warmup_steps == 0
    *_, training = parse_arguments(["--max_steps", "5", "--stages", '{"encoder": {"steps": 0.5}}'])
    assert training.stage_plan.starts == (0, 3)
    assert capsys.readouterr().out == "The recipe's lengths are scaled along with --max_steps 5: warm-up 100 -> 0.\n"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--stage_1_steps", "5"], "`stage_1_steps` is now a part of `stages`"),
        (["--mdlm-steps=5"], "`mdlm_steps` is now a part of `stages`"),
        (["--stages", "[encoder"], "which is not JSON"),
        (["--stages", '{"mdlm": null}'], "changes 'mdlm', and the recipe has the stages ['encoder', 'prior']"),
    ],
)
def test_flags_that_can_not_work_end_with_a_sentence(flags, message, capsys):
    with pytest.raises(SystemExit):
        parse_arguments(flags)
    assert message in capsys.readouterr().err
