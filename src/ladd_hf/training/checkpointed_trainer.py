"""[`CheckpointedTrainer`]: resumes a run that was killed at any moment, or whose disk was full, from its last
checkpoint.

Checkpoints are written to a separate folder and renamed (`checkpoint_writing.py`); only complete ones are resumed
(`checkpoints.py`), and only by a run with the same model, tokenizer and stages.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.trainer_utils import TrainOutput
from transformers.utils import logging

from ..models.adapters import base_model
from ..models.loading import misfit
from ..utils import own_command
from .adapters import load_adapter_weights
from .arguments import LaddTrainingArguments
from .checkpoint_writing import AsideTrainer, clear_unfinished, written_aside
from .checkpoints import (
    STATE_FILE,
    agreed,
    check_checkpoint,
    last_whole_checkpoint,
    manifest_of,
    numbered_checkpoints,
    reading,
    weight_files,
)
from .fsdp_checks import check_resuming
from .run_folders import FILES_OF_A_MODEL, set_aside

logger = logging.get_logger(__name__)


class CheckpointedTrainer(AsideTrainer):
    """transformers' Trainer with atomic checkpoints; resuming raises an error rather than skip or replace parts of a
    checkpoint silently."""

    args: LaddTrainingArguments

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """Extends `Trainer.train`; refuses an output folder with a run in it, unless that is resumed, and incomplete
        checkpoints. `True`, and `resume_if_exists`, take the last complete one, with a warning about those skipped.
        With `start_anew` an earlier run in the folder moves to `_previous-1`, `_previous-2` and so on; nothing is
        deleted.

        Raises `ValueError` for a checkpoint of another model, tokenizer or sequence of stages, or with missing or
        damaged files.
        """
        if self.args.should_save:
            clear_unfinished(str(self.args.output_dir))
        if self.args.start_anew:
            if resume_from_checkpoint:
                raise ValueError("`start_anew` is set, and `resume_from_checkpoint` is given: choose one of them.")
            with self.args.main_process_first(local=False, desc="moving the earlier run aside"):
                set_aside(str(self.args.output_dir))  # later processes find nothing to move
        checkpoint = agreed(lambda: self._checkpoint_to_resume(resume_from_checkpoint))
        if checkpoint is not None:
            check_resuming(self.accelerator)
        return super().train(checkpoint, *args, **kwargs)

    def _checkpoint_to_resume(self, asked: str | bool | None) -> str | None:
        """Returns the checkpoint to resume from, if any. Raises `ValueError` for one that is incomplete or of another
        run, and for an output folder with a run that is not to be resumed."""
        folder, found = str(self.args.output_dir), None
        if asked and asked is not True:
            check_checkpoint(asked)
            found = str(asked)
        elif asked or self.args.resume_if_exists:
            found = last_whole_checkpoint(folder)
        if found is not None:
            self._check_past(found)
            return found
        if asked:
            raise ValueError(f"The output folder {folder} holds no checkpoint to go on from: train without resuming.")
        if held := numbered_checkpoints(folder):
            raise ValueError(
                f"The output folder {folder} already holds a run (up to {held[0].name}): "
                f"choose another folder, or go on with it ({own_command.named('resume_if_exists')}), or train anew "
                f"({own_command.named('start_anew')}, which moves it aside)."
            )
        if files := [name for name in FILES_OF_A_MODEL if Path(folder, name).exists()]:
            raise ValueError(
                f"The output folder {folder} already holds a model ({', '.join(files)}) and no checkpoint to go on "
                f"from: choose another folder, or train anew ({own_command.named('start_anew')}, which moves it aside)."
            )
        return None

    # --- facts stored in a checkpoint ---

    def _facts(self) -> dict[str, Any]:
        """Returns the facts that are stored with a checkpoint, for a run that resumes from it."""
        facts = {"save_only_model": self.args.save_only_model, "stage_starts": list(self.args.stage_plan.starts)}
        return facts | {"vocabulary": self._vocabulary()}

    def _vocabulary(self) -> str | None:
        """Returns a digest of the tokenizer's tokens and their ids."""
        if not isinstance(self.processing_class, PreTrainedTokenizerBase):
            return None
        return hashlib.sha256(json.dumps(sorted(self.processing_class.get_vocab().items())).encode()).hexdigest()

    def _check_past(self, checkpoint: str) -> None:
        """Raises `ValueError` for a checkpoint with other tokens, or whose steps belong to other stages.

        Stages that are shares of the run are compared once its number of steps is known.
        """
        theirs, ours = manifest_of(checkpoint), self._vocabulary()
        if None not in (ours, theirs.get("vocabulary")) and theirs["vocabulary"] != ours:
            raise ValueError(
                f"The checkpoint {checkpoint} was trained with a tokenizer whose tokens have other ids: go on with the "
                "one that is saved in it."
            )
        if "stage_starts" not in theirs or not self.args.stages_are_counted:
            return
        state = json.loads(Path(checkpoint, STATE_FILE).read_text(encoding="utf-8"))
        step = state.get("global_step", 0)
        before, now = (
            sorted({start for start in starts if start <= step})
            for starts in (theirs["stage_starts"], self.args.stage_plan.starts)
        )
        if before != now:
            raise ValueError(
                f"Until step {step} of the checkpoint {checkpoint} stages began at {before}, and by the settings given "
                f"they would have at {now}: go on with its `stages` and its `max_steps`{_steps_of(state)}."
            )

    # --- writing ---

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        with written_aside(self, trial, self._facts()):
            super()._save_checkpoint(model, trial)

    # --- reading ---

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if not load_adapter_weights(self.model, resume_from_checkpoint):
            with reading(resume_from_checkpoint, *weight_files(resume_from_checkpoint)):
                super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        best = str(self.state.best_model_checkpoint)
        if not (names := weight_files(best)) and not (self.is_deepspeed_enabled or self.is_fsdp_enabled):
            raise ValueError(
                f"The best checkpoint, {best}, has no weights any more, so `load_best_model_at_end` cannot be kept: "
                "put it back, or take the model of another checkpoint (`from_pretrained`)."
            )
        if not load_adapter_weights(self.model, best):
            with reading(best, *names):
                super()._load_best_model()

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Raises an error where `Trainer` warns: for weights of another model."""
        tied = tuple(getattr(base_model(self.accelerator.unwrap_model(self.model)), "all_tied_weights_keys", {}))
        missing = (
            [key for key in load_result.missing_keys if not key.endswith(tied)] if tied else load_result.missing_keys
        )
        if wrong := misfit(missing, load_result.unexpected_keys):
            raise ValueError(f"the checkpoint {wrong}")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with reading(checkpoint or "", "optimizer.pt", "scheduler.pt"):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_scaler(self, checkpoint: str | None) -> None:
        with reading(checkpoint or "", "scaler.pt"):
            super()._load_scaler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        name = f"rng_state_{self.args.process_index}.pth" if self.args.world_size > 1 else "rng_state.pth"
        if not Path(checkpoint, name).is_file():
            logger.warning(
                f"The checkpoint {checkpoint} was saved by another number of processes and has no {name}: random "
                "numbers, such as those of dropout, begin anew from the seed."
            )
        with reading(checkpoint, name):
            super()._load_rng_state(checkpoint)


def _steps_of(state: dict[str, Any]) -> str:
    """Returns the length of a checkpoint's run in words, if it is known."""
    return f" of {state['max_steps']}" if "max_steps" in state else ""
