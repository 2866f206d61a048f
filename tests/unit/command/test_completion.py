"""A shell completes flags of all jobs, and names of recipes and of included pipelines."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from ladd_command.app import app
from ladd_command.completion import FLAGS, flags_of
from ladd_command.runs import RUNS
from ladd_hf.cli import flag_list
from ladd_hf.cli.recipe_files import recipe_names
from ladd_hf.pipelines.included import included_pipelines

MODELS = included_pipelines()


@pytest.fixture
def completed(monkeypatch):
    """`completed("ladd train --max_st")`: what bash offers for the last word."""

    def complete(line):
        monkeypatch.setenv("_LADD_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", "\n".join(line.split(" ")))
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        result = CliRunner().invoke(app, [], prog_name="ladd")
        assert result.exit_code == 0, result.output
        return result.stdout.split()

    return complete


def test_the_list_of_flags_is_that_of_the_jobs_parsers():
    assert FLAGS == flag_list.FILE and set(flag_list.PARSERS) == set(RUNS)
    assert FLAGS.read_text(encoding="utf-8") == flag_list.flag_list(), "write it anew: python -m ladd_hf.cli.flag_list"


@pytest.mark.parametrize("name", RUNS)
def test_all_flags_of_a_job_are_offered_and_each_once(completed, name):
    offered = completed(f"ladd {name} something --")
    assert len(offered) == len(set(offered)) and set(flags_of(name)) <= set(offered)
    parser = flag_list.PARSERS[name]()
    assert set(offered) - {"--processes"} <= set(parser.flags)
    assert ("--processes" in offered) == RUNS[name].launched
    spelt = {flag.replace("-", "_") for flag in parser.flags if flag.startswith("--")}
    assert spelt <= {flag.replace("-", "_") for flag in offered}, "none is left out, in one spelling"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("ladd train --max_st", ["--max_steps"]),
        ("ladd train python-docs-di --data my.txt --max_st", ["--max_steps"]),
        ("ladd evaluate python-docs-di --data my.txt --budg", ["--budgets"]),
        ("ladd train --proc", ["--processes"]),
        ("ladd tune model --proc", []),
        ("ladd train python-d", [name for name in recipe_names() if name.startswith("python-d")]),
        ("ladd train --processes 2 own", ["own-texts"]),
        ("ladd train --config own", ["own-texts"]),
        ("ladd train own-texts own", []),
        ("ladd recipes sawtooth-di", ["sawtooth-di"]),
        ("ladd generate python-docs-d", ["python-docs-di"]),
        ("ladd generate python-docs-di python-docs-d", []),
        ("ladd generate python-docs-di --schedule jo", ["joint"]),
        ("ladd mix python-docs-di a b --token-waiting ", ["none", "while_written", "until_known"]),
        ("ladd encode python-docs-di a --dtype b", ["bfloat16"]),
        ("ladd evaluate ", MODELS),
        ("ladd evaluate python-docs-di --data ", []),
        ("ladd evaluate python-docs-di --beside python-docs-m", ["python-docs-mdlm"]),
        ("ladd finetune --pipeline ", MODELS),
        ("ladd demo ", MODELS),
        ("ladd demo python-docs-di --beside ", MODELS),
        ("ladd convert ", []),
    ],
)
def test_a_word_is_completed_where_it_may_stand(completed, line, offered):
    assert completed(line) == offered


@pytest.mark.parametrize("name", ["tune", "write", "distill", "infill", "encode", "vary", "mix", "info"])
def test_a_model_may_be_an_included_one(completed, name):
    assert completed(f"ladd {name} ") == MODELS
