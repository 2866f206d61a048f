"""A run that starts anew moves an earlier one aside, and deletes nothing."""

from __future__ import annotations

import pytest

from ladd_hf.training.run_folders import set_aside

RUN = ["checkpoint-2", "checkpoint-10", "config.json", "model.safetensors", "model-00001-of-00002.safetensors"]
OTHERS = ["notes.txt", "checkpoint-best", "model-zoo", "runs"]


def fill(folder, names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(f"first {name}")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_checkpoints_and_models_move_and_all_else_stays(tmp_path):
    folder = tmp_path / "run"
    fill(folder, [*RUN, *OTHERS])
    assert set_aside(folder) == folder / "_previous-1"
    assert names(folder) == sorted([*OTHERS, "_previous-1"])
    assert names(folder / "_previous-1") == sorted(RUN)
    assert (folder / "_previous-1" / "config.json").read_text() == "first config.json"


def test_each_run_has_a_folder_of_its_own(tmp_path):
    folder = tmp_path / "run"
    for number in (1, 2, 3):
        fill(folder, RUN)
        assert set_aside(folder) == folder / f"_previous-{number}"
    assert names(folder) == ["_previous-1", "_previous-2", "_previous-3"]


@pytest.mark.parametrize("held", [[], OTHERS, ["config.json", "README.md", "tokenizer.json"]])
def test_where_no_run_has_been_nothing_moves(tmp_path, held):
    folder = tmp_path / "run"
    fill(folder, held)
    assert set_aside(folder) is None and names(folder) == sorted(held)
    assert set_aside(tmp_path / "nowhere") is None


def test_further_names_may_tell_of_a_run(tmp_path):
    fill(tmp_path / "run", ["adapter", "notes.txt"])
    assert set_aside(tmp_path / "run", also=["adapter"]) is not None
    assert names(tmp_path / "run") == ["_previous-1", "notes.txt"]


def test_a_cell_that_trains_can_be_run_again(make_trainer, tmp_path):
    options = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1, "start_anew": True}
    losses = []
    for _ in range(3):
        trainer = make_trainer("none", **options)
        trainer.train()
        trainer.save_pipeline(str(tmp_path / "run"))
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert losses[0] == losses[1] == losses[2], "each from its first step"
    folder = tmp_path / "run"
    assert {"checkpoint-1", "checkpoint-2", "model_index.json", "_previous-1", "_previous-2"} <= set(names(folder))
    for aside in (folder / "_previous-1", folder / "_previous-2"):
        assert {"checkpoint-1", "checkpoint-2", "model_index.json", "model"} <= set(names(aside))


def test_a_run_goes_on_or_starts_anew(make_trainer):
    trainer = make_trainer("none", start_anew=True)
    with pytest.raises(ValueError, match="`start_anew` is set, and `resume_from_checkpoint` is given"):
        trainer.train(resume_from_checkpoint=True)
    with pytest.raises(ValueError, match="`start_anew` is set, and going on"):
        make_trainer("none", start_anew=True, resume_if_exists=True)
