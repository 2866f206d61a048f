"""Atomic writing of checkpoints: a checkpoint gets its name when it is complete.

Everything is written to a separate folder, then the list of its files, and then that folder is renamed. A run that is
killed before leaves a folder that does not count as a checkpoint, and that is deleted when the run starts again. (As of
transformers 5.23.0 a checkpoint has its name from the start, and half of one may be chosen to go on from:
huggingface/transformers#35782.)
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, SaveStrategy, rotate_checkpoints
from transformers.utils import logging

from .checkpoints import MANIFEST, STATE_FILE, defect_of, is_read_again, numbered_checkpoints

logger = logging.get_logger(__name__)

# Checkpoints are written in this folder. Names that begin with an underscore are not uploaded with the run's folder.
ASIDE = "_unfinished"
_REPLACED = "replaced"  # holds a checkpoint of the same name until the new one is renamed


class AsideTrainer(Trainer):
    """transformers' Trainer with another output folder inside of [`written_aside`]."""

    _saved_aside: str | None = None  # while a checkpoint is written: the folder in place of the run's

    def _get_output_dir(self, trial: Any) -> str:
        return self._saved_aside or super()._get_output_dir(trial)


@contextmanager
def written_aside(trainer: AsideTrainer, trial: Any, facts: dict[str, Any]) -> Iterator[None]:
    """Context in which `trainer` saves its checkpoint to a separate folder; at its end the checkpoint is renamed and
    pushed, and old ones are deleted.

    On an error everything written is deleted, so that a full disk gets no fuller. `facts` are stored with the list of
    files.
    """
    run, step, state = Path(trainer._get_output_dir(trial)), trainer.state.global_step, trainer.state
    name = f"{PREFIX_CHECKPOINT_DIR}-{step}"
    aside, final, writes = run / ASIDE / name, run / name, trainer.args.should_save
    if writes:
        clear_unfinished(run)
    trainer.accelerator.wait_for_everyone()  # no process may write before the folder is cleared
    best = state.best_model_checkpoint
    trainer._saved_aside = str(aside.parent)
    try:
        yield
        trainer.accelerator.wait_for_everyone()  # every process has written its part
        state.best_model_checkpoint = _best(trainer, run) or best
        if writes:
            state.save_to_json(str(aside / STATE_FILE))  # now with the final name of the best checkpoint
            _write_manifest(aside, facts)
            _give_name(aside, final)
    except Exception as error:
        state.best_model_checkpoint = best
        if writes:
            shutil.rmtree(aside, ignore_errors=True)
        error.add_note(
            f"This happened while {final} was written: nothing of it is kept, earlier checkpoints are whole."
        )
        raise
    finally:
        trainer._saved_aside = None
    trainer.accelerator.wait_for_everyone()
    if not writes and trainer.args.local_process_index == 0 and aside.is_dir():  # another node's own disk
        with suppress(FileNotFoundError):  # a shared disk that shows the renaming late
            _give_name(aside, final)
    if trainer.args.push_to_hub:
        trainer._push_from_checkpoint(str(final))
    if writes:
        _rotate(run, trainer)


def clear_unfinished(run: str | Path) -> None:
    """Deletes the remains of a run that was killed while saving, with a warning; restores a checkpoint that was about
    to be replaced."""
    aside = Path(run) / ASIDE
    if not aside.is_dir():
        return
    for old in (aside / _REPLACED).glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if not (Path(run) / old.name).exists():
            os.replace(old, Path(run) / old.name)
    for unfinished in sorted(aside.glob(f"{PREFIX_CHECKPOINT_DIR}-*")):
        logger.warning(f"{unfinished.name} in {run} was never saved to its end: what there is of it is deleted.")
    shutil.rmtree(aside)


def _best(trainer: Trainer, run: Path) -> str | None:
    """Returns the folder of the best step if it exists or is this very checkpoint."""
    step = trainer.state.best_global_step
    if not step or trainer.args.save_strategy == SaveStrategy.NO:
        return None
    folder = run / f"{PREFIX_CHECKPOINT_DIR}-{step}"
    return str(folder) if step == trainer.state.global_step or folder.is_dir() else None


def _write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Writes the list of the files needed for resuming, after all of them have been written to disk."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            if is_read_again(path.name):
                sizes[path.relative_to(folder).as_posix()] = path.stat().st_size
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump({**facts, "files": sizes}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())


def _give_name(aside: Path, final: Path) -> None:
    """Renames a finished checkpoint; an older one of that name is deleted afterwards."""
    if final.is_dir():
        (aside.parent / _REPLACED).mkdir(exist_ok=True)
        os.replace(final, aside.parent / _REPLACED / final.name)
    os.replace(aside, final)
    shutil.rmtree(aside.parent)


def _rotate(run: Path, trainer: Trainer) -> None:
    """Keeps `save_total_limit` checkpoints; damaged ones are deleted first."""
    limit, best = trainer.args.save_total_limit, trainer.state.best_model_checkpoint
    if limit is None or limit <= 0:
        return
    found = numbered_checkpoints(run)
    damaged = [path for path in found if defect_of(path, thorough=False) is not None] if len(found) > limit else []
    if not trainer.args.save_only_model:
        for path in damaged[: len(found) - limit]:
            shutil.rmtree(path, ignore_errors=True)
    rotate_checkpoints(str(run), limit, best, use_mtime=True)
