"""[`SearchingTrainer`]: transformers' hyperparameter search, each trial by its own arguments and seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import set_seed

from .recorded_trainer import RecordedTrainer


def evaluation_loss(metrics: dict[str, float]) -> float:
    """What a hyperparameter search minimises, `eval_loss`. Raises `ValueError` where there is none."""
    if "eval_loss" not in metrics:
        raise ValueError(
            f"The evaluation gave no `eval_loss` to minimise, but {', '.join(sorted(metrics))}: give "
            "`compute_objective`, such as `lambda metrics: metrics['eval_mine_loss']` for the set 'mine'."
        )
    return metrics["eval_loss"]


class SearchingTrainer(RecordedTrainer):
    """Searches for the arguments with the least `eval_loss`, unless another objective is given."""

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], dict[str, Any]] | None = None,
        compute_objective: Callable[[dict[str, float]], float] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """As `Trainer.hyperparameter_search`, where the objective is `eval_loss`, to be minimised, if none is given."""
        return super().hyperparameter_search(hp_space, compute_objective or evaluation_loss, *args, **kwargs)

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """As `Trainer.call_model_init`, with the arguments of the trial, whose seed the weights are drawn by."""
        if trial is not None:
            self._hp_search_setup(trial)
            set_seed(self.args.seed)
        return super().call_model_init(trial)

    def _hp_search_setup(self, trial: Any) -> None:
        given, follows = self.args.data_seed, self.args.data_seed == self.args.seed
        super()._hp_search_setup(trial)
        if trial is None or self.hp_search_backend is None:
            return
        if follows and self.args.data_seed == given:  # unless it is searched for itself
            self.args.data_seed = self.args.seed
            self.accelerator.dataloader_config.data_seed = self.args.seed
