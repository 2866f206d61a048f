"""A run that is killed anywhere in saving, or whose disk is full, goes on. As a program this file kills runs."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from helpers.quickly import QUICKLY
from helpers.training import assert_same, state_of, texts

import ladd_hf
from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddTrainer, LaddTrainingArguments
from ladd_hf.training import checkpoint_writing
from ladd_hf.training.checkpoint_writing import ASIDE
from ladd_hf.training.checkpoints import defect_of, numbered_checkpoints

STEPS = 4
SIZES = {"vocab_size": 11, "mask_token_id": 10, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def trainer_in(folder, eval_data=None, **options):
    torch.manual_seed(0)
    model = LaddForDiffusionLM(LaddConfig(cond_hidden_size=8, max_position_embeddings=12, **SIZES))
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": STEPS, **options}
    args = LaddTrainingArguments(
        str(folder), use_cpu=True, disable_tqdm=True, per_device_train_batch_size=8, ema_decay=0.9, **options
    )
    return LaddTrainer(model, args, train_dataset=texts(32), eval_dataset=eval_data)


# --- the killed runs ---


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(owner, name, chosen=lambda *args: True, before=lambda *args: None):
    """Dies where `owner.name` is called with arguments that are `chosen`, after `before` has done its harm."""
    original = getattr(owner, name)

    def call(*args, **kwargs):
        if chosen(*args):
            before(*args)
            die()
        return original(*args, **kwargs)

    setattr(owner, name, call)


def in_file(suffix):
    """Dies with half of a file of torch written."""
    save = torch.save

    def half(content, path, *args):
        save(content, path)
        os.truncate(path, os.path.getsize(path) // 2)

    at_call(torch, "save", lambda content, path, *args: str(path).endswith(suffix), half)


def half_deleted(path, *args, **kwargs):
    os.unlink(Path(path) / "model.safetensors")


# Where a run dies in saving step 4, and the step that it then goes on from.
PLACES = {
    "before the weights": (lambda: at_call(LaddTrainer, "save_model"), 2),
    "before the average": (lambda: at_call(ladd_hf.training.ema, "save_file"), 2),
    "in the optimiser": (lambda: in_file("optimizer.pt"), 2),
    "in the scheduler": (lambda: in_file("scheduler.pt"), 2),
    "in the random numbers": (lambda: in_file("rng_state.pth"), 2),
    "before the trainer's state": (lambda: at_call(transformers.TrainerState, "save_to_json"), 2),
    "before the list of files": (lambda: at_call(checkpoint_writing, "_write_manifest"), 2),
    "before it has its name": (lambda: at_call(checkpoint_writing, "_give_name"), 2),
    "between the old one's name and the new one's": (
        lambda: at_call(os, "replace", lambda old, new: ASIDE in str(old)),
        4,
    ),
    "when it has its name": (lambda: at_call(checkpoint_writing, "_rotate"), 4),
    "while an older one is deleted": (
        lambda: at_call(shutil, "rmtree", lambda path, *a: Path(path).name == "checkpoint-2", half_deleted),
        4,
    ),
}


def killed_run(whole: Path, folder: Path, place: str) -> None:
    """A copy of a whole run that goes on from its first checkpoint, and dies at `place` of saving the second."""
    shutil.copytree(whole, folder)
    if not place.startswith("between"):  # where the second one is replaced
        shutil.rmtree(folder / "checkpoint-4")
    trainer = trainer_in(folder, save_total_limit=1 if place.startswith("while") else None)
    PLACES[place][0]()
    trainer.train(str(folder / "checkpoint-2"))


def main(root: Path) -> None:
    """Kills a run at every place, each in a process of its own, and writes how each ended."""
    torch.set_num_threads(1)  # a forked process has no threads of its parent's
    trainer_in(root / "whole").train()
    ends = {}
    for number, place in enumerate(PLACES):
        if (child := os.fork()) == 0:
            try:
                killed_run(root / "whole", root / str(number), place)
            finally:
                os._exit(1)
        ends[place] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    (root / "ends.json").write_text(json.dumps(ends))


# --- what is left of them ---


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Sets one thread, as in the killed runs: sums of several threads round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Folders of the killed runs, by place."""
    root = tmp_path_factory.mktemp("killed")
    paths = [str(Path(__file__).parents[1]), str(Path(ladd_hf.__file__).parents[1])]
    environment = dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="", PYTHONPATH=os.pathsep.join(paths))
    program = [sys.executable, QUICKLY, __file__, str(root)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    assert set(json.loads((root / "ends.json").read_text()).values()) == {-signal.SIGKILL}, done.stderr[-5000:]
    return {place: root / str(number) for number, place in enumerate(PLACES)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody killed."""
    trainer = trainer_in(tmp_path_factory.mktemp("whole") / "run")
    trainer.train()
    return trainer


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are killed as POSIX does")
@pytest.mark.parametrize("place", PLACES)
def test_a_run_killed_while_it_saves_goes_on_from_its_last_whole_checkpoint(place, killed, whole, monkeypatch, caplog):
    folder, step = killed[place], PLACES[place][1]
    resumed = trainer_in(folder, resume_if_exists=True)
    begun = []
    load = LaddTrainer._load_optimizer_and_scheduler
    monkeypatch.setattr(
        LaddTrainer,
        "_load_optimizer_and_scheduler",
        lambda trainer, checkpoint: (begun.append(Path(checkpoint).name), load(trainer, checkpoint)),
    )
    unfinished = (folder / ASIDE / "checkpoint-4").exists()
    resumed.train()
    assert begun == [f"checkpoint-{step}"]
    assert ("checkpoint-4 in" in caplog.text and "never saved to its end" in caplog.text) == unfinished
    assert_same(state_of(whole), state_of(resumed))
    assert not (folder / ASIDE).exists() and defect_of(folder / "checkpoint-4") is None


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth"])
def test_on_a_full_disk_nothing_is_left_of_a_checkpoint_and_the_run_goes_on(name, tmp_path, whole, monkeypatch):
    save = torch.save

    def full(content, path, *args):
        if ASIDE in str(path) and "checkpoint-4" in str(path) and str(path).endswith(name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        save(content, path, *args)

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        with pytest.raises(OSError, match="No space left") as stopped:
            trainer_in(tmp_path / "run").train()
    assert "checkpoint-4 was written: nothing of it is kept" in stopped.value.__notes__[0]
    assert [path.name for path in numbered_checkpoints(tmp_path / "run")] == ["checkpoint-2"]
    assert not list((tmp_path / "run").rglob("*.safetensors"))[2:], "what was written takes no room"
    resumed = trainer_in(tmp_path / "run", resume_if_exists=True)
    resumed.train()
    assert_same(state_of(whole), state_of(resumed))


def test_a_run_killed_in_its_first_checkpoint_begins_anew(tmp_path, whole, caplog):
    unfinished = tmp_path / "run" / ASIDE / "checkpoint-2"
    unfinished.mkdir(parents=True)
    (unfinished / "model.safetensors").write_bytes(b"half")
    again = trainer_in(tmp_path / "run", resume_if_exists=True)
    again.train()
    assert_same(state_of(whole), state_of(again))
    assert "checkpoint-2 in" in caplog.text and "is deleted" in caplog.text


def test_the_best_checkpoint_has_its_lasting_name_and_the_limit_is_kept(tmp_path):
    options = {"save_total_limit": 1, "eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True}
    trainer = trainer_in(tmp_path / "run", eval_data=texts(4), save_steps=1, nelbo_samples=1, **options)
    trainer.train()
    best = Path(trainer.state.best_model_checkpoint)
    assert best == tmp_path / "run" / f"checkpoint-{trainer.state.best_global_step}" and best.is_dir()
    saved = transformers.TrainerState.load_from_json(
        str(numbered_checkpoints(tmp_path / "run")[0] / "trainer_state.json")
    )
    assert saved.best_model_checkpoint == str(best)
    assert len(numbered_checkpoints(tmp_path / "run")) <= 2


def test_a_damaged_checkpoint_is_not_the_one_that_is_kept(tmp_path):
    trainer = trainer_in(tmp_path / "run", save_steps=1)
    trainer.train()
    (tmp_path / "run" / "checkpoint-4" / "optimizer.pt").unlink()
    trainer_in(tmp_path / "run", save_steps=3, max_steps=3, save_total_limit=1).train(
        str(tmp_path / "run" / "checkpoint-2")
    )
    kept = numbered_checkpoints(tmp_path / "run")
    assert [defect_of(path) for path in kept] == [None]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
