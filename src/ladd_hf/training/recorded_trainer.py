"""[`RecordedTrainer`]: the average of a run's weights, their record, and the check of their loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase
from transformers.utils import logging

from ..models.adapters import base_model
from ..models.modeling_ladd import LaddForDiffusionLM
from .adaptive_times import AdaptiveTimes
from .checkpointed_trainer import CheckpointedTrainer
from .cost_files import save_cost, training_cost
from .ema import EMA_FILE, EMACallback
from .loss_monitor import LossMonitor
from .run_record import RunRecord
from .trainer_checks import CHECKED_CALLABLES, averages_weights, check_options

logger = logging.get_logger(__name__)


class RecordedTrainer(CheckpointedTrainer):
    """Keeps an average of the weights and a record of their training, also in each checkpoint."""

    ema: EMACallback | None
    _record: RunRecord
    _monitor: LossMonitor
    _times: AdaptiveTimes

    @property
    def trained_steps(self) -> int:
        """Number of training steps of the current weights, including earlier calls of `train`; if the best weights were
        loaded, their number of steps."""
        return self._record.steps

    @property
    def training_flops(self) -> float:
        """Floating-point operations of the current weights' training, in all processes and calls of `train`."""
        return self._record.cost()[0]

    @property
    def training_seconds(self) -> float:
        """Seconds of the training steps of the current weights, without evaluations and saving."""
        return self._record.cost()[1]

    @property
    def training_cost(self) -> dict[str, Any]:
        """Steps, operations and seconds of the current weights' training, in all and by stage; see
        [`~cost_files.training_cost`]."""
        return training_cost(self._record)

    def _ladd_model(self) -> LaddForDiffusionLM:
        return base_model(self.accelerator.unwrap_model(self.model, keep_torch_compile=False))

    def _tokenizer(self) -> PreTrainedTokenizerBase | None:
        return self.processing_class if isinstance(self.processing_class, PreTrainedTokenizerBase) else None

    def _check_options(self) -> None:
        """Raises `ValueError` for options that cannot be supported, whenever they were set."""
        check_options(self.args, {name: getattr(self, name) for name in CHECKED_CALLABLES})

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Context in which the model has its averaged weights: an EMA, or those of an optimiser that averages itself;
        the current ones without either or before training."""
        optimizer = averages_weights(self.optimizer)
        if optimizer is not None:
            optimizer.eval()
        try:
            with self.ema.applied() if self.ema is not None else nullcontext():
                yield
        finally:
            if optimizer is not None and self.is_in_train:
                optimizer.train()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves the averaged weights, and what their training cost. Checkpoints hold the plain weights, for resuming,
        and the average."""
        if _internal_call and output_dir is not None:
            super().save_model(output_dir, _internal_call=True)
            if self.ema is not None:
                self.ema.save(output_dir, self.args.should_save)
            if self.args.should_save:
                self._record.save(output_dir)
                self._times.save(output_dir)
            return
        self._monitor.check()
        with self._averaged():
            super().save_model(output_dir, _internal_call)
        if self.args.should_save:
            save_cost(self._record, output_dir or str(self.args.output_dir))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        # never overwrite good checkpoints with weights spoilt by a non-finite loss, in any process
        self._monitor.check(self.accelerator.gather)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._record = RunRecord.load(checkpoint)
            self._times = AdaptiveTimes.load(checkpoint)
        # here, since DeepSpeed loads the weights without a method of ours
        if self.ema is not None and checkpoint is not None:
            self.ema.load(checkpoint)
        elif checkpoint is not None and Path(checkpoint, EMA_FILE).exists():
            logger.warning(
                f"The checkpoint {checkpoint} has averaged weights, which are dropped, for `ema_decay` is 0: give the "
                "decay of its run to keep them."
            )

    def _load_best_model(self) -> None:
        super()._load_best_model()
        best = str(self.state.best_model_checkpoint)
        self._record.steps = RunRecord.load(best).steps
        if self.ema is not None:
            self.ema.load(best)
