"""[`SearchingTrainer`]: transformers' hyperparameter search, each trial with its own arguments and seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import set_seed

from .recorded_trainer import RecordedTrainer


def evaluation_loss(metrics: dict[str, float]) -> float:
    """Returns `eval_loss`, which a hyperparameter search minimises. Raises `ValueError` if it is missing."""
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
        """Extends `Trainer.hyperparameter_search`; by default it minimises `eval_loss`."""
        return super().hyperparameter_search(hp_space, compute_objective or evaluation_loss, *args, **kwargs)

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """Extends `Trainer.call_model_init`: the trial's seed initialises the weights."""
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
