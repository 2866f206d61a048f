"""Recipes and flags may ask for the consistency term, of the model and of its baseline."""

from __future__ import annotations

import pytest
from helpers.examples import recipes
from helpers.examples import train_ladd as example

RECIPE = """
latent_type: discrete
latent_length: 1
latent_dim: 2
codebook_size: 4
hidden_size: 32
max_steps: 8
consistency_weight: 0.5
consistency_clean_latents: true
stages: [{name: encoder, steps: 2}, {name: prior, steps: 2}, {name: consistency, objective: {consistency_weight: 2.0}}]
"""


def test_a_recipe_and_flags_over_it(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    flags = ["--consistency_min_jump", "0.5", "--consistency_teacher", "model", "--output_dir", str(tmp_path / "out")]
    *_, training = example.parse_arguments([str(tmp_path / "recipe.yaml"), *flags])
    objectives = [training.objective_at(step) for step in (0, 3, 7)]
    assert [one.consistency_weight for one in objectives] == [0.5, 0.5, 2.0]
    assert all((one.consistency_min_jump, one.consistency_max_jump) == (0.5, 1.0) for one in objectives)
    assert all(one.consistency_teacher == "model" and one.consistency_clean_latents for one in objectives)
    baseline = recipes.baseline_arguments(training, tmp_path / "mdlm").objective_at(7)
    assert baseline.consistency_weight == 0.5 and not baseline.consistency_clean_latents
    baseline.check_fits("none")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--consistency_weight", "-1"], "`consistency_weight` is -1.0"),
        (["--consistency_teacher", "ema"], "`consistency_teacher` 'ema' is unknown"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(flags, said, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with pytest.raises(SystemExit):
        example.parse_arguments([str(tmp_path / "recipe.yaml"), *flags, "--output_dir", str(tmp_path / "out")])
    assert said in capsys.readouterr().err
