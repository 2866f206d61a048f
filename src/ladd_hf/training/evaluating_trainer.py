"""[`EvaluatingTrainer`]: the bound of each text of a data set, counted once, with the averaged weights. Section 6."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.fsdp import register_fsdp_forward_method
from torch.utils.data import DataLoader, IterableDataset
from transformers.trainer_utils import EvalLoopOutput, PredictionOutput

from ..diffusion.bounds import TotalBound
from ..diffusion.paths import path_name
from ..diffusion.process import NoiseProcess
from ..diffusion.rng import RowGenerator
from .evaluation_streams import NUMBER, NumberedCollator, NumberedTexts, each_once
from .isolation import in_dtype, isolated_randomness
from .recorded_trainer import RecordedTrainer
from .run_facts import measurement
from .text_metrics import TextMetrics, joined_labels, scored_tokens


class EvaluatingTrainer(RecordedTrainer):
    """Evaluates the bound along each of `args.nelbo_paths`, on every text even if training drops some, and does not
    affect the training."""

    _evaluated: dict[str, Any]  # the data set of each evaluation loader that is kept
    _under_evaluation: Any = None  # the data set of the last one

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """Extends `Trainer.get_eval_dataloader`: every text is in it once."""
        return self._whole_dataloader(super().get_eval_dataloader, eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """Extends `Trainer.get_test_dataloader`: every text is in it once."""
        return self._whole_dataloader(super().get_test_dataloader, test_dataset)

    def _whole_dataloader(self, make: Callable[[Any], DataLoader], dataset: Any) -> DataLoader:
        """Returns a data loader without dropped texts, which marks those that only fill up the last batch."""
        named = self.eval_dataset if dataset is None else dataset
        named = cast(dict, self.eval_dataset)[named] if isinstance(named, str) else named
        self._under_evaluation = named
        drop_last, collator = self.args.dataloader_drop_last, self.data_collator
        self.args.dataloader_drop_last = False
        if isinstance(named, IterableDataset) and self.args.world_size > 1:
            dataset, self.data_collator = NumberedTexts(named), NumberedCollator(collator)
        key = dataset if isinstance(dataset, str) else "eval"  # as transformers keeps loaders with persistent workers
        if self._evaluated.get(key) is not named:
            getattr(self, "_eval_dataloaders", {}).pop(key, None)
        self._evaluated[key] = named
        try:
            return make(dataset)
        finally:
            self.args.dataloader_drop_last, self.data_collator = drop_last, collator

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns = cast(list, self._signature_columns)
        if NUMBER not in columns:
            columns.append(NUMBER)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Extends `Trainer.evaluate`: training is not affected, and the card names the weights and the data set of
        results."""
        with isolated_randomness(self.args.device):
            metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
            if not isinstance(self.eval_dataset if eval_dataset is None else eval_dataset, dict):  # else one by one
                self._record.measurements.append(measurement(self, eval_dataset, metric_key_prefix, metrics))
        return metrics

    def predict(self, *args: Any, **kwargs: Any) -> PredictionOutput:
        """Extends `Trainer.predict`; the predictions are each text's number of scored tokens, its token and latent nats
        along each of `args.nelbo_paths`, and with `args.nelbo_proposals` its marginalised nats along each: `(N, 1 + 2
        paths)` or `(N, 1 + 3 paths)`."""
        with isolated_randomness(self.args.device):
            return super().predict(*args, **kwargs)

    def evaluation_loop(self, dataloader: DataLoader, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Extends `Trainer.evaluation_loop`: it uses the averaged weights, and the bound is among its metrics.

        Raises `ValueError` for a data set without texts, or without tokens to score.
        """
        self._check_options()
        prefix = kwargs.get("metric_key_prefix", "eval")
        kwargs["prediction_loss_only"] = False
        empty = f"The data set of `{prefix}` holds no text: give one with at least one."
        try:
            with self._averaged(), self._evaluation_dtype(), self._text_metrics() as user:
                output = super().evaluation_loop(dataloader, *args, **kwargs)
        except ValueError as error:  # raised for a stream that one process reads for all
            if "does not contain any data" not in str(error):
                raise
            raise ValueError(empty) from error
        found = output.predictions if user is None else user.rows  # the loop keeps no batches of `batch_eval_metrics`
        batches = found if isinstance(found, list) else [found]
        if not batches or batches[0] is None:
            raise ValueError(empty)
        values = np.concatenate([np.asarray(batch, dtype=np.float64) for batch in batches])
        once = each_once(values[:, 0])
        values, metrics = values[once, 1:], output.metrics or {}
        bound = self._bound_metrics(values, prefix)
        if taken := sorted(bound.keys() & metrics.keys()):
            raise ValueError(f"`compute_metrics` returns {taken}, which are metrics of the bound: choose other names.")
        predictions = None if self.args.prediction_loss_only else values
        labels = None if output.label_ids is None else joined_labels(output.label_ids)[once]
        return EvalLoopOutput(cast(Any, predictions), labels, {**metrics, **bound}, len(values))

    @contextmanager
    def _text_metrics(self) -> Iterator[TextMetrics | None]:
        """Context in which the user's `compute_metrics`, if any, is called with each text once."""
        compute = self.compute_metrics
        if compute is None:
            yield None
            return
        self.compute_metrics = standing_in = TextMetrics(compute, self.args)  # type: ignore[assignment]
        try:
            yield standing_in
        finally:
            self.compute_metrics = compute

    @contextmanager
    def _evaluation_dtype(self) -> Iterator[None]:
        """Rounds the weights for `bf16_full_eval` and `fp16_full_eval`, and restores them afterwards."""
        args = self.args
        flags = {"bf16_full_eval": torch.bfloat16, "fp16_full_eval": torch.float16}
        asked = {name: dtype for name, dtype in flags.items() if getattr(args, name) and not self.is_in_train}
        if asked:
            self._move_model_to_device(cast(nn.Module, self.model), args.device)
        for name in asked:  # else the model would keep that dtype
            setattr(args, name, False)
        try:
            with in_dtype(self._ladd_model(), next(iter(asked.values()), None)):
                yield
        finally:
            for name in asked:
                setattr(args, name, True)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, Tensor, Tensor | None]:
        """Computes the bound of each example: its number in a stream shared by processes (else -1), the number of
        scored tokens, token and latent nats along each path, and marginalised nats if they are asked for, `(B, 2 + 2
        paths)` or `(B, 2 + 3 paths)`; and the scored tokens `(B, S)`, -100 elsewhere, if there is a `compute_metrics`.

        The noise is seeded by the example's own tokens: the same in any order, batch or number of processes.
        """
        if "nelbo" not in vars(self._ladd_model()):
            register_fsdp_forward_method(self._ladd_model(), "nelbo")  # gather sharded weights for this method, too
        inputs = self._prepare_inputs(inputs)
        tokens, mask, labels = inputs["input_ids"], inputs.get("attention_mask"), inputs.get("labels")
        stored = inputs.get("precomputed_latents")
        numbers = inputs.get(NUMBER, torch.full((len(tokens),), -1, device=tokens.device))
        columns: list[Tensor] = []
        with self.compute_loss_context_manager(), self.accelerator.autocast():
            for path in self.args.nelbo_paths:
                random = RowGenerator.from_content(self.args.seed, tokens, mask)
                bound = self._ladd_model().nelbo(tokens, mask, path, self.args.nelbo_samples, random, labels, stored)
                columns = columns or [numbers.double(), bound.num_tokens.double()]
                columns += [bound.token_nats, bound.latent_nats]
            columns += self._marginal_nats(inputs)
        scored = None if self.compute_metrics is None else scored_tokens(tokens, mask, labels)
        return None, torch.stack(columns, dim=1), scored

    def _marginal_nats(self, inputs: dict[str, Any]) -> list[Tensor]:
        """Computes the marginalised bound of each example along each path, `(B,)`, if `args.nelbo_proposals` asks."""
        if not self.args.nelbo_proposals:
            return []
        tokens, mask = inputs["input_ids"], inputs.get("attention_mask")
        return [
            self._ladd_model()
            .nelbo(
                tokens,
                mask,
                path,
                generator=RowGenerator.from_content(self.args.seed, tokens, mask),
                labels=inputs.get("labels"),
                precomputed_latents=inputs.get("precomputed_latents"),
                run=self.args.nelbo_run,
                num_proposals=self.args.nelbo_proposals,
                proposal_width=self.args.nelbo_proposal_width,
            )
            .total_nats
            for path in self.args.nelbo_paths
        ]

    def _bound_metrics(self, values: NDArray[np.float64], prefix: str) -> dict[str, float]:
        """Computes nats per token of the whole evaluation set, by path and by part."""
        tokens = values[:, 0].sum()
        if not tokens:
            raise ValueError(
                f"The data set of `{prefix}` holds no token to score: every one is padding, or labelled -100. "
                "Give texts with tokens that are neither."
            )
        metrics = {}
        names = [path_name(path) for path in self.args.nelbo_paths]
        for index, name in enumerate(names):
            token_nats, latent_nats = values[:, 1 + 2 * index].sum() / tokens, values[:, 2 + 2 * index].sum() / tokens
            metrics[f"{prefix}_{name}_token_nats"] = float(token_nats)
            metrics[f"{prefix}_{name}_latent_nats"] = float(latent_nats)
            metrics[f"{prefix}_{name}_nelbo"] = float(token_nats + latent_nats)
            if self.args.nelbo_proposals:
                marginal = TotalBound(*map(torch.from_numpy, (values[:, 1 + 2 * len(names) + index], values[:, 0])))
                metrics[f"{prefix}_{name}_marginal_nelbo"] = marginal.nats_per_token
                metrics[f"{prefix}_{name}_marginal_stderr"] = marginal.nats_per_token_stderr
        metrics[f"{prefix}_loss"] = metrics[f"{prefix}_{names[0]}_nelbo"]
        if NoiseProcess.of(self._ladd_model().config).bounds_texts(self.args.nelbo_paths[0]):
            metrics[f"{prefix}_perplexity"] = float(np.exp(metrics[f"{prefix}_loss"]))
        return metrics
