"""A user's `compute_metrics`, called as transformers calls it, with the bound of each text as its predictions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import EvalPrediction

from ..utils.wrong_objects import described
from .arguments import LaddTrainingArguments
from .evaluation_streams import NUMBER, each_once

_FOR_METRICS = ("inputs", "loss")


class TextMetrics:
    """Stands in for a user's `compute_metrics` during an evaluation, and hands it each text once.

    `predictions` are the number of scored tokens of each text, and its token and latent nats along each path,
    `(N, 1 + 2 paths)`; `label_ids` `(N, S)` are its scored tokens, -100 elsewhere. `include_for_metrics` adds `inputs`
    `(N, S)`, the tokens, and `losses` `(N,)`, nats per scored token along the first path (nan for a text without any).

    Args:
        compute: the user's function.
        args: which of the above it is given, and whether it is called for each batch.
    """

    def __init__(self, compute: Callable[..., Any], args: LaddTrainingArguments) -> None:
        self.compute, self.args = compute, args
        self.rows: list[NDArray[np.float64]] = []  # all predictions, with their texts' numbers
        self._seen: set[float] = set()  # numbers of texts of a shared stream

    def __call__(self, prediction: EvalPrediction, **options: Any) -> Mapping[str, Any]:
        """Returns the user's metrics. `prediction` has the texts' numbers before each row, as the trainer's
        `prediction_step` computes them; it is the whole set, as one array or one per batch, or a batch, of tensors.

        Raises `ValueError` if the user's function returns no metrics.
        """
        given: Any = prediction.predictions
        batches = given if isinstance(given, list) else [given]
        kept = [self._kept(batch) for batch in batches]
        rows = [batch[once] for batch, once in zip(batches, kept, strict=True)]

        def chosen(part: Any) -> Any:
            if isinstance(part, list):
                return [batch[once] for batch, once in zip(part, kept, strict=True)]
            if isinstance(part, Mapping):  # the batch of this process, as transformers gives it to batches' metrics
                return {name: value for name, value in part.items() if name != NUMBER}
            return None if part is None else part[kept[0]]

        def alike(parts: list[Any]) -> Any:
            return parts if isinstance(given, list) else parts[0]

        with_losses = "loss" in self.args.include_for_metrics
        found = self.compute(
            EvalPrediction(
                predictions=alike([batch[:, 1:] for batch in rows]),
                label_ids=chosen(prediction.label_ids),
                inputs=chosen(prediction.inputs),
                losses=alike([_losses(batch) for batch in rows]) if with_losses else None,
            ),
            **options,
        )
        if options.get("compute_result", True) and not isinstance(found, Mapping):
            raise ValueError(
                f"`compute_metrics` returned {described(found)}; return a mapping of names to numbers, such as "
                "{'nats': 1.2}."
            )
        return found

    def _kept(self, batch: Any) -> list[int]:
        """Returns the rows of a batch whose texts have not been seen, and remembers them."""
        values = np.asarray(batch.cpu() if isinstance(batch, Tensor) else batch, dtype=np.float64)
        self.rows.append(values)
        kept = [row for row in each_once(values[:, 0]).tolist() if values[row, 0] not in self._seen]
        self._seen.update(values[values[:, 0] >= 0, 0].tolist())
        return kept


def scored_tokens(tokens: Tensor, attention_mask: Tensor | None, labels: Tensor | None) -> Tensor:
    """Returns the tokens of a batch that count in the bound, -100 elsewhere, `(B, S)`."""
    scored = tokens if labels is None else labels
    return scored if attention_mask is None else scored.masked_fill(attention_mask == 0, -100)


def joined_labels(batches: Any) -> NDArray[np.int64]:
    """Returns the scored tokens of all texts, `(N, S)`, of one array or of one per batch; shorter ones are padded with
    -100."""
    if not isinstance(batches, list):
        return np.asarray(batches)
    longest = max(batch.shape[1] for batch in batches)
    return np.concatenate(
        [np.pad(batch, ((0, 0), (0, longest - batch.shape[1])), constant_values=-100) for batch in batches]
    )


def check_text_metrics(args: LaddTrainingArguments, compute: Any) -> None:
    """Raises `ValueError` for a `compute_metrics` that cannot be called or would not be, and for options of its call
    without it."""
    if compute is None:
        for name in ("batch_eval_metrics", "include_for_metrics"):
            if getattr(args, name):
                raise ValueError(
                    f"`{name}` is {getattr(args, name)!r}, but there is no `compute_metrics` that is called with it: "
                    "give one to the trainer, or leave it out."
                )
        return
    if isinstance(compute, type) or not callable(compute):
        raise ValueError(
            f"`compute_metrics` is {described(compute)}; give a callable of an EvalPrediction that returns numbers by "
            "name."
        )
    if args.prediction_loss_only:
        raise ValueError(
            "`compute_metrics` is given, but with `prediction_loss_only` there are no predictions to call it with: "
            "leave one of the two out."
        )
    if unknown := [name for name in args.include_for_metrics if name not in _FOR_METRICS]:
        raise ValueError(f"`include_for_metrics` holds {unknown[0]!r}; give 'inputs', 'loss' or both.")
    if args.batch_eval_metrics and not _takes_compute_result(compute):
        raise ValueError(
            "`batch_eval_metrics` is True, but `compute_metrics` has no parameter `compute_result`, which tells it "
            "that a batch is the last one: add it, or leave `batch_eval_metrics` out."
        )


def _takes_compute_result(compute: Callable[..., Any]) -> bool:
    return "compute_result" in inspect.signature(compute).parameters


def _losses(rows: Any) -> Any:
    """Returns each text's nats per scored token along the first path."""
    nats = rows[:, 2] + rows[:, 3]
    if isinstance(rows, torch.Tensor):
        return nats / rows[:, 1]
    with np.errstate(invalid="ignore"):  # 0 / 0 in a text without scored tokens
        return nats / rows[:, 1]
