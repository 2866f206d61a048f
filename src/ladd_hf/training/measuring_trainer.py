"""[`MeasuringTrainer`]: measures of the model on held-out texts as part of an evaluation."""

from __future__ import annotations

import time
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput

from ..metrics.model_measures import check_measurable, measured, model_measures
from .checkpoints import agreed
from .evaluating_trainer import EvaluatingTrainer


class MeasuringTrainer(EvaluatingTrainer):
    """Measures the averaged weights on some texts of each evaluation set, as `args.measures` asks."""

    _measures_are_due = False  # true in an evaluation, not in a prediction

    def _meet_measures(self) -> None:
        """Raises `ValueError` for measures that the model lacks something for."""
        check_measurable(model_measures(self.args.measures), self._ladd_model().config)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Extends [`EvaluatingTrainer.evaluate`]: the numbers of `args.measures` are among the metrics of each set."""
        before, self._measures_are_due = self._measures_are_due, True
        try:
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        finally:
            self._measures_are_due = before

    def evaluation_loop(self, dataloader: DataLoader, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Extends [`EvaluatingTrainer.evaluation_loop`] by the measures, and their seconds."""
        output = super().evaluation_loop(dataloader, *args, **kwargs)
        if not (self._measures_are_due and self.args.measures):
            return output
        start, prefix = time.perf_counter(), kwargs.get("metric_key_prefix", "eval")
        found = {**self._measured(), "measures_runtime": time.perf_counter() - start}
        return output._replace(metrics={**(output.metrics or {}), **{f"{prefix}_{k}": one for k, one in found.items()}})

    def _measured(self) -> dict[str, float]:
        """Returns all numbers and their standard errors by name; every process has to call it, and all get the same."""
        batches, scores = self._measured_batches(), dict[str, float]()
        with self._averaged(), self._evaluation_dtype(), self.accelerator.autocast():
            for measure in model_measures(self.args.measures):
                scores |= measured(measure, measure.scores(self._ladd_model(), batches))["scores"]
        (scores,) = broadcast_object_list([scores])
        return scores

    def _measured_batches(self) -> list[Any]:
        """Returns the texts of the set under evaluation that are measured, the same in every process."""
        rows = agreed(partial(_spread_rows, self._under_evaluation, self.args.measured_texts))
        collate = self._get_collator_with_removed_columns(self.data_collator, "evaluation")
        size = self.args.per_device_eval_batch_size
        return [collate(rows[start : start + size]) for start in range(0, len(rows), size)]


def _spread_rows(dataset: Any, number: int) -> list[Any]:
    """Returns at most `number` examples, spread over a data set; of a stream the first ones."""
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        return list(islice(dataset, number))
    places = np.linspace(0, len(dataset) - 1, min(number, len(dataset))).round().astype(int)
    return [dataset[place] for place in places.tolist()]
