"""Clean-up after a training: reports the last checkpoint on an interrupt, and removes empty folders."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..training.checkpoints import defect_of, numbered_checkpoints
from ..training.trainer import LaddTrainer


@contextmanager
def tidied(trainer: LaddTrainer, *of_checkpoints: Path) -> Iterator[None]:
    """Context of a training. When it is interrupted, a line on standard error says what is kept and how to go on. Those
    of the folders `of_checkpoints`, inner ones first, that got nothing are taken away."""
    try:
        yield
    except KeyboardInterrupt:
        if trainer.is_world_process_zero():
            print(f"\n{_told(Path(str(trainer.args.output_dir)), trainer)}", file=sys.stderr, flush=True)
        raise
    finally:
        if trainer.args.local_process_index == 0:
            for folder in of_checkpoints:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()


def _told(folder: Path, trainer: LaddTrainer) -> str:
    """Returns the sentence about an interrupted run."""
    reached = f"Stopped at step {trainer.state.global_step:,} of {trainer.args.max_steps:,}"
    kept = next((path for path in numbered_checkpoints(folder) if defect_of(path) is None), None)
    if kept is None:
        return (
            f"{reached}; no step is kept, as no checkpoint was written yet: with --save_strategy steps and "
            "--save_steps a run can go on."
        )
    return f"{reached}; {kept.name} is kept in {folder}: the same command with --resume_if_exists true goes on from it."
