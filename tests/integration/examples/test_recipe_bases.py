"""Recipes that start from others: what overrides what, and bases that are refused."""

from __future__ import annotations

import pytest
from helpers.examples import train_ladd as example


def write(folder, **recipes):
    for name, text in recipes.items():
        (folder / f"{name}.yaml").write_text(text)
    return str(folder / f"{next(iter(recipes))}.yaml")


def test_a_recipe_overrides_its_bases_a_later_base_an_earlier_one_and_a_flag_them_all(tmp_path):
    path = write(
        tmp_path,
        child="base: [one, two.yaml]\nlength: 3\n".replace("one", "one.yaml"),
        one="base: root.yaml\nlength: 1\nlatent_dim: 1\nmax_steps: 1\n",
        two="latent_dim: 2\nlength: 2\n",
        root="max_steps: 9\njudge_order: 9\nseed: 9\n",
    )
    run, model, _, training = example.parse_arguments([path, "--seed", "4"])
    assert (run.length, model.latent_dim, training.max_steps, run.judge_order, training.seed) == (3, 2, 1, 9, 4)
    assert training.output_dir == "out/child"


def test_a_mapping_without_a_name_changes_options_of_the_bases_choice(tmp_path):
    path = write(
        tmp_path,
        child="base: [one.yaml, two.yaml]\nencoder: {std: 0.2}\nquantizer: {name: gumbel}\nmax_steps: 1\n",
        one="encoder: trained\nquantizer: {name: vector, decay: 0.9}\n",
        two="encoder: {variance: fixed, std: 0.1}\n",
    )
    _, model, *_ = example.parse_arguments([path, "--encoder", "{readout: chunk}"])
    assert model.encoder == {"name": "trained", "variance": "fixed", "std": 0.2, "readout": "chunk"}
    assert model.quantizer == {"name": "gumbel"}


def test_two_bases_may_share_one(tmp_path):
    shared = "length: 7\nmax_steps: 1"
    path = write(tmp_path, child="base: [a.yaml, b.yaml]", a="base: c.yaml", b="base: c.yaml", c=shared)
    assert example.parse_arguments([path])[0].length == 7


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ({"child": "base: none.yaml"}, "none.yaml, which is neither a file nor an included recipe"),
        ({"child": "base: a.yaml", "a": "base: child.yaml"}, "child.yaml is a `base` of its own, by way of"),
        ({"child": "base: a.yaml", "a": "lenght: 3"}, "unknown fields ['lenght']"),
        (
            {"child": "base: a.yaml", "a": "stages: [{name: encoder, steps: 9}, prior]\nmax_steps: 3"},
            "ends before the stage 'prior'",
        ),
    ],
    ids=["missing", "circle", "unknown field", "contradiction"],
)
def test_a_base_that_can_not_be_used_is_named(tmp_path, capsys, recipes, message):
    with pytest.raises(SystemExit):
        example.parse_arguments([write(tmp_path, **recipes)])
    assert message in capsys.readouterr().err
