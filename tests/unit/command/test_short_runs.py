"""A run that is much shorter than its recipe's does not spend itself on the warm-up, and shows its progress."""

from __future__ import annotations

import pytest

from ladd_hf.cli import distill, recipes
from ladd_hf.cli.short_runs import warm_up_of_run


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--max_steps 60", 6),
        ("--max-steps=60 --seed 1", 6),
        ("--max_steps 999", 99),
        ("--max_steps 1000", 100),
        ("--max_steps 9000", 100),
        ("--max_steps 60 --warmup_steps 50", 100),
        ("--max_steps many", 100),
        ("--max_steps 0", 100),
        ("--seed 1", 100),
    ],
)
def test_a_warm_up_is_at_most_a_tenth_of_a_shorter_run(flags, expected):
    warm_up, said = warm_up_of_run({"warmup_steps": 100, "max_steps": 3000}, flags.split())
    assert warm_up == expected
    assert said == ("" if expected == 100 else f"warm-up 100 -> {expected}")


@pytest.mark.parametrize("share", [0.5, 0.05, True, None])
def test_a_share_of_the_run_stays_one(share):
    assert warm_up_of_run({"warmup_steps": share, "max_steps": 3000}, ["--max_steps", "60"]) == (share, "")


def test_a_recipes_own_share_is_kept_if_it_is_larger():
    assert warm_up_of_run({"warmup_steps": 50, "max_steps": 100}, ["--max_steps", "20"]) == (10, "warm-up 50 -> 10")


@pytest.mark.parametrize(("steps", "every"), [(3000, 100), (1000, 100), (60, 6), (5, 1)])
def test_every_training_has_ten_lines_of_progress(steps, every, tmp_path):
    few = ["--max_steps", f"{steps}", "--output_dir", f"{tmp_path / 'out'}"]
    *_, training = recipes.parse_arguments(["python-docs-di", *few])
    assert training.logging_steps == every
    _, training = distill.parse_arguments(["model", "--data", "sawtooth", *few])
    assert training.logging_steps == every
    *_, training = recipes.parse_arguments(["python-docs-di", *few, "--logging_steps", "50"])
    assert training.logging_steps == 50
