"""[`SamplingTrainer`]: the samples of [`LogSamples`] as part of an evaluation."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader
from transformers.trainer_utils import EvalLoopOutput
from transformers.utils import logging

from .checkpoints import agreed
from .log_samples import LoggedSamples, LogSamples
from .measuring_trainer import MeasuringTrainer
from .run_facts import prior_is_untrained
from .sample_drawing import TokensAlone, draw_samples
from .sample_reports import report_samples

logger = logging.get_logger(__name__)


class SamplingTrainer(MeasuringTrainer):
    """Draws samples at each evaluation if a [`LogSamples`] is among its callbacks, or `args.sample_budgets` holds
    any."""

    _prefix: str | None = None  # of the metrics of the evaluation that is under way, of one data set or of several
    _drawn: LoggedSamples | None = None  # the samples of this evaluation

    def _meet_samples(self) -> None:
        """Adds [`LogSamples`] for `args.sample_budgets`, and checks it. Raises `ValueError` for more than one."""
        if self._log_samples() is None and self.args.sample_budgets:
            self.add_callback(LogSamples())
        if (asked := self._log_samples()) is not None:
            asked.check_fits(self.args, self._ladd_model().config)

    def _log_samples(self) -> LogSamples | None:
        found = [one for one in self.callback_handler.callbacks if isinstance(one, LogSamples)]
        if len(found) > 1:
            raise ValueError(
                f"`callbacks` holds {len(found)} LogSamples, whose metrics would have the same names: give one, with "
                "several `schedulers` by name."
            )
        return found[0] if found else None

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Extends [`MeasuringTrainer.evaluate`]: samples are drawn, scored and logged, if [`LogSamples`] asks for
        them; once for all data sets of a dict of them, under the name of the whole."""
        if self._prefix is not None:  # one of several data sets
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        self._prefix = metric_key_prefix
        try:
            metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
            if self._drawn is not None and self.is_world_process_zero():
                report_samples(self._drawn, metric_key_prefix, self.callback_handler.callbacks)
        finally:
            self._prefix = self._drawn = None
        return metrics

    def evaluation_loop(self, dataloader: DataLoader, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """Extends [`MeasuringTrainer.evaluation_loop`]: the scores of samples are among the metrics of the first data
        set."""
        output = super().evaluation_loop(dataloader, *args, **kwargs)
        asked = self._log_samples()
        if asked is None or self._prefix is None or self._drawn is not None:
            return output
        if self.is_in_train and self._evaluations(kwargs.get("metric_key_prefix", "eval")) % asked.every:
            return output
        start = time.perf_counter()
        with self._averaged(), self._evaluation_dtype():
            self._drawn = asked.last = self._draw(asked)
        metrics = {**self._drawn.metrics, "samples_runtime": time.perf_counter() - start}
        metrics = {**(output.metrics or {}), **{f"{self._prefix}_{name}": value for name, value in metrics.items()}}
        return output._replace(metrics=metrics)

    def _evaluations(self, prefix: str) -> int:
        """Returns the number of earlier steps of this run that were evaluated, also before it was resumed."""
        now, log = self.state.global_step, self.state.log_history
        return len({entry["step"] for entry in log if f"{prefix}_loss" in entry and entry["step"] != now})

    def _draw(self, asked: LogSamples) -> LoggedSamples:
        """Draws and scores the samples; every process has to call it, and all get the same."""
        args, whole = self.args, self._ladd_model()
        alone = self._tokens_alone()
        model = TokensAlone(whole) if alone else whole
        scores: dict[str, dict[int, dict[str, float]]] = {}
        texts: dict[str, dict[int, list[str]]] = {}
        count, size = asked.num_samples_of(args), args.per_device_eval_batch_size
        for name, scheduler in asked.schedulers_of(whole.config).items():
            scores[name], texts[name] = {}, {}
            for budget in asked.budgets_of(args):
                with self.accelerator.autocast():
                    ids, lengths = draw_samples(model, scheduler, budget, count, size, args.seed, self.accelerator)
                scores[name][budget] = agreed(partial(asked.scored, ids, lengths))
                texts[name][budget] = self._texts(ids[: asked.show], lengths)
        return LoggedSamples(self.state.global_step, self._about(alone), scores, texts)

    def _tokens_alone(self) -> bool:
        """True if the last step trained only the tokens of a model with latents; False before the first step."""
        step = self.state.global_step
        with_latents = self._ladd_model().config.latent_type != "none"
        return with_latents and (self.is_in_train or step > 0) and self.args.objective_at(max(step - 1, 0)).tokens_alone

    def _about(self, alone: bool) -> str:
        """Describes what writes the samples."""
        model = self._ladd_model()
        if alone or model.config.latent_type == "none":
            return "tokens alone"
        if prior_is_untrained(model):
            logger.warning_once(
                "The prior over the latents is untrained so far, so samples are written from latents drawn at random."
            )
            return "tokens, given latents drawn at random"
        return "latents and tokens"

    def _texts(self, sequences: Tensor, lengths: Tensor) -> list[str]:
        """Returns the samples without padding as texts, or as ids without a tokenizer."""
        rows = [ids[:end] for ids, end in zip(sequences.tolist(), lengths.tolist(), strict=False)]
        tokenizer = self._tokenizer()
        if tokenizer is None:
            return [" ".join(map(str, ids)) for ids in rows]
        return tokenizer.batch_decode(rows, skip_special_tokens=True)
