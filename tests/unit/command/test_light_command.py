"""The command's flags load nothing of the package, and say what its jobs take."""

from __future__ import annotations

import ast
import inspect
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

import ladd_command
from ladd_command import facts, launching, texts
from ladd_command.runs import RUNS
from ladd_hf.cli import distill, evaluation_flags, finetune, recipes, tune, write
from ladd_hf.cli.texts import Writing
from ladd_hf.utils import own_command

FILES = sorted(Path(ladd_command.__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_only_typer_and_the_standard_library_are_imported(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
    assert found <= {*sys.stdlib_module_names, "typer"}


def test_the_two_packages_call_the_launch_by_one_name():
    assert (launching.FOLDER, launching._REFUSAL) == (own_command.FOLDER, own_command._REFUSAL)


@pytest.mark.parametrize("name", ["generate", "infill", "vary", "mix"])
def test_what_writes_takes_flags_that_the_job_knows(name):
    flags = inspect.signature(getattr(texts, name)).parameters
    job = inspect.signature(getattr(import_module("ladd_hf.cli.texts"), name)).parameters
    own = {one for one in job if one != "options"}
    known = {one.name for one in fields(Writing)}
    assert own <= set(flags) <= own | known
    shared = {"temperature", "top_p", "seed", "steps", "schedule", "watch", "json", "cpu", "dtype", "num_samples"}
    assert shared <= set(flags)
    defaults = {one.name: one.default for one in fields(Writing)}
    for flag in set(flags) & known - {"num_samples"}:
        assert flags[flag].default == defaults[flag]


@pytest.mark.parametrize(
    ("command", "module"),
    [(facts.info, "info"), (facts.push, "push"), (facts.recipes, "recipe_list"), (facts.env, "environment")],
)
def test_what_tells_takes_the_flags_of_its_job(command, module):
    job = getattr(import_module(f"ladd_hf.cli.{module}"), command.__name__)
    assert list(inspect.signature(command).parameters) == list(inspect.signature(job).parameters)


def test_every_setting_of_a_model_has_a_help_of_its_own():
    told = {one.name: one.metadata["help"] for one in fields(recipes.ModelArguments)}
    assert all(help and not help[0].islower() and "[`" not in help for help in told.values())
    assert recipes.parser().format_help()  # in which a % would be read as a format


@pytest.mark.parametrize("name", RUNS)
def test_each_run_is_the_main_of_a_module_with_flags_of_its_own(name):
    module = import_module(f"ladd_hf.cli.{RUNS[name].module}")
    assert list(inspect.signature(module.main).parameters) == ["argv"]


@pytest.mark.parametrize(
    ("parse", "words", "name"),
    [
        (recipes.parse_arguments, ["--output_dir", "{out}"], "use_cpu"),
        (finetune.parse_arguments, ["model", "--output_dir", "{out}"], "use_cpu"),
        (distill.parse_arguments, ["model", "--data", "my.txt", "--output_dir", "{out}"], "use_cpu"),
        (evaluation_flags.parse_arguments, ["model", "--data", "my.txt", "--results", "{out}"], "cpu"),
        (tune.parse_arguments, ["model", "--data", "my.txt", "--output", "{out}"], "cpu"),
        (write.parse_arguments, ["model", "--output", "{out}"], "cpu"),
    ],
)
def test_the_cpu_is_asked_for_by_one_flag_everywhere(parse, words, name, tmp_path):
    words = [word.format(out=tmp_path / "out") for word in words]
    for flags in ([], ["--cpu"]):
        parsed = parse([*words, *flags])
        settings = parsed[-1] if isinstance(parsed, tuple) else parsed
        assert getattr(settings, name) == bool(flags)
