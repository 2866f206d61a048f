"""A training that is interrupted says what is kept, and goes on; folders without checkpoints do not stay."""

from __future__ import annotations

import re

import pytest
from helpers.example_runs import TINY
from transformers import TrainerCallback

from ladd_hf.cli import train
from ladd_hf.training.checkpoints import numbered_checkpoints


class Interrupting(TrainerCallback):
    """Ctrl-C at the end of the fourth step."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 4:
            raise KeyboardInterrupt


@pytest.fixture
def interrupted(ladd, monkeypatch, tmp_path):
    """Trains with some flags until it is interrupted: what it says, and the folder."""

    def run(*flags):
        with monkeypatch.context() as patch:
            patch.setattr(train, "ProgressLines", Interrupting)
            return ladd("train", *words, *flags), tmp_path / "out"

    words = [*TINY, "--use_cpu", "--max_steps", 6, "--output_dir", tmp_path / "out", "--baseline", "false"]
    run.words = words
    return run


def test_without_checkpoints_it_says_that_nothing_is_kept_and_leaves_nothing(interrupted):
    said, folder = interrupted()
    assert said.code == 130
    told, last = [line for line in said.err.splitlines() if line][-2:]
    assert told.startswith("Stopped at step 4 of 6; no step is kept") and "--save_strategy steps" in told
    assert last == "ladd: stopped."
    assert not folder.exists() or not list(folder.iterdir())


def test_it_goes_on_from_what_it_says_is_kept(interrupted, ladd):
    flags = ("--save_strategy", "steps", "--save_steps", 3)
    said, folder = interrupted(*flags)
    told = re.search(
        r"Stopped at step 4 of 6; (checkpoint-\d+) is kept in (\S+): the same command with (.*) goes", said.err
    )
    assert (said.code, told[1]) == (130, "checkpoint-3")
    assert [one.name for one in numbered_checkpoints(told[2])] == ["checkpoint-3"]
    again = ladd("train", *interrupted.words, *flags, *told[3].split())
    assert again.code == 0, again.err
    assert (folder / "results.json").exists()
    assert [one.name for one in numbered_checkpoints(told[2])] == ["checkpoint-6", "checkpoint-3"]


def test_a_run_that_writes_no_checkpoints_leaves_no_folder_for_them(interrupted, ladd, tmp_path):
    assert ladd("train", *interrupted.words).code == 0
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_training_that_is_interrupted_before_it_begins_leaves_nothing(ladd, interrupted, monkeypatch, tmp_path):
    def interrupt(self, *args):
        assert (tmp_path / "out" / "checkpoints").is_dir(), "which transformers has made by now"
        raise KeyboardInterrupt

    monkeypatch.setattr(train.LaddTrainer, "remove_callback", interrupt)
    assert ladd("train", *interrupted.words).code == 130
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_texts_of_ones_own_can_be_gone_on_with(ladd, prose, monkeypatch, tmp_path):
    few = [*TINY[2:], "--max_steps", 20, "--hidden_size", 32, "--num_hidden_layers", 1, "--length", 16, "--use_cpu"]
    words = ["train", "--data", prose, *few, "--output_dir", tmp_path / "out"]
    with monkeypatch.context() as patch:
        patch.setattr(train, "ProgressLines", Interrupting)
        told = re.search("checkpoint-2 is kept in .*: the same command with (.*) goes on", ladd(*words).err)
    again = ladd(*words)
    assert again.code == 2 and "already holds a run (up to checkpoint-2)" in again.err
    assert "go on with it (--resume_if_exists), or train anew (--start_anew, which moves it aside)" in again.err
    assert ladd(*words, *told[1].split()).code == 0
    kept = [one.name for one in numbered_checkpoints(tmp_path / "out" / "checkpoints" / "di-ladd")]
    assert kept == ["checkpoint-20"]


def test_before_the_first_checkpoint_it_says_when_that_would_have_been(interrupted):
    said, _ = interrupted("--save_strategy", "steps", "--save_steps", 5)
    assert "Stopped at step 4 of 6; no step is kept, as the first checkpoint is written at step 5." in said.err


def test_a_script_ends_without_a_traceback(interrupted, monkeypatch, capsys):
    monkeypatch.setattr(train, "ProgressLines", Interrupting)
    monkeypatch.setattr("sys.argv", ["examples/train_ladd.py"])
    with pytest.raises(SystemExit) as ended:
        train.main([str(word) for word in interrupted.words])
    assert ended.value.code == 130 and "Stopped at step 4 of 6" in capsys.readouterr().err


def test_an_earlier_run_that_is_moved_aside_is_told_where(ladd, interrupted, tmp_path):
    assert ladd("train", *interrupted.words).code == 0
    said = ladd("train", *interrupted.words, "--start_anew")
    assert f"The earlier run is now in {tmp_path / 'out' / '_previous-1'}." in said.out
    assert (tmp_path / "out" / "_previous-1" / "results.json").is_file()
