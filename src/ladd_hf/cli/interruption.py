"""The end of a training that stops early: a sentence about its last checkpoint, and no empty folders."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.trainer_utils import SaveStrategy

from ..training.arguments import LaddTrainingArguments
from ..training.checkpoints import defect_of, numbered_checkpoints
from ..training.trainer import LaddTrainer
from ..utils import own_command

_INTERRUPTED = 130


@contextmanager
def telling_of_interrupts(trainer: LaddTrainer) -> Iterator[None]:
    """Context of a training. When it is interrupted, a line on standard error says what is kept and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if trainer.is_world_process_zero():
            print(f"\n{_told(Path(str(trainer.args.output_dir)), trainer)}", file=sys.stderr, flush=True)
        if own_command.is_running() or own_command.launched():
            raise  # the command ends in a word of its own, a script in no traceback
        sys.exit(_INTERRUPTED)


@contextmanager
def without_empty_folders(training: LaddTrainingArguments, *folders: Path) -> Iterator[None]:
    """Context after which those of the folders, inner ones first, are taken away that got nothing."""
    try:
        yield
    finally:
        if training.local_process_index == 0:
            for folder in folders:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()


def tell_aside(moved: Path | None) -> None:
    """Tells where an earlier run was moved, if there was one."""
    if moved is not None:
        print(f"The earlier run is now in {moved}.", flush=True)


def _told(folder: Path, trainer: LaddTrainer) -> str:
    """Returns the sentence about an interrupted run."""
    reached = f"Stopped at step {trainer.state.global_step:,} of {trainer.args.max_steps:,}"
    kept = next((path for path in numbered_checkpoints(folder) if defect_of(path) is None), None)
    if kept is None and trainer.args.save_strategy == SaveStrategy.STEPS:
        return f"{reached}; no step is kept, as the first checkpoint is written at step {trainer.state.save_steps:,}."
    if kept is None:
        return f"{reached}; no step is kept: with --save_strategy steps --save_steps 0.1 each tenth of a run is."
    return f"{reached}; {kept.name} is kept in {folder}: the same command with --resume_if_exists true goes on from it."
