"""Lines of a training: the step and its stage, the loss with its parts, and the time that is left."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ladd_hf import LaddTrainingArguments
from ladd_hf.cli.reporting import ProgressLines

LOGGED = {"loss": 1.25, "token_loss": 0.75, "latent_loss": 0.5, "grad_norm": 3.0, "learning_rate": 1e-3, "epoch": 0.1}


@pytest.fixture
def training(monkeypatch):
    """`training(begin, steps)`: a run of 100 steps from the step `begin`, which logs at `(step, seconds passed)`."""

    def run(begin, steps, logs=LOGGED, first=True, stages=()):
        args = LaddTrainingArguments("unused", max_steps=100, stages=list(stages), use_cpu=True)
        now = 1000.0
        monkeypatch.setattr("time.monotonic", lambda: now)
        lines = ProgressLines()
        state = SimpleNamespace(global_step=begin, max_steps=100, is_world_process_zero=first)
        lines.on_train_begin(args, state, None)
        for state.global_step, passed in steps:
            now = 1000.0 + passed
            lines.on_log(args, state, None, dict(logs))

    return run


def test_a_line_shows_the_step_the_loss_with_its_parts_and_the_time_left(training, capsys):
    training(0, [(10, 20.0)])
    shown = "  step     10/100  loss 1.25  token_loss 0.75  latent_loss 0.5  (180 s left)\n"
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("begin", "steps", "left"),
    [
        (0, [(10, 20.0), (20, 40.0), (90, 180.0)], [180, 160, 20]),  # at an even pace
        (0, [(10, 20.0), (50, 60.0), (100, 90.0)], [180, 60, 0]),  # that of the whole run so far
        (40, [(50, 10.0), (70, 30.0)], [50, 30]),  # what was done before it went on took none of its time
    ],
)
def test_the_rest_is_taken_to_go_as_fast_as_what_is_done(training, capsys, begin, steps, left):
    training(begin, steps)
    lines = [line for line in capsys.readouterr().out.splitlines() if "left" in line]
    assert [line.rpartition("(")[2] for line in lines] == [f"{s} s left)" for s in left]


def test_a_run_that_goes_on_says_from_where_and_a_new_one_does_not(training, capsys):
    training(40, [(50, 10.0)])
    assert capsys.readouterr().out.splitlines()[0] == "  going on from step 40"
    training(0, [(50, 10.0)])
    assert "going on" not in capsys.readouterr().out


def test_a_line_names_the_stage_whose_steps_it_tells_of(training, capsys):
    stages = [{"name": "mdlm", "steps": 20}, {"name": "encoder", "steps": 10}, "prior"]
    training(0, [(10, 1.0), (20, 2.0), (21, 3.0), (30, 4.0), (100, 5.0)], stages=stages)
    told = [line.split()[2] for line in capsys.readouterr().out.splitlines()]
    assert told == ["mdlm", "mdlm", "encoder", "encoder", "prior"]


def test_evaluations_and_other_processes_say_nothing(training, capsys):
    training(0, [(10, 20.0)], logs={"eval_loss": 1.0})
    training(0, [(10, 20.0)], first=False)
    assert capsys.readouterr().out == ""
