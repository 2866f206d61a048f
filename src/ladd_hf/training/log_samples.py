"""[`LogSamples`]: samples that are drawn, scored and logged at each evaluation of a training run. Section 9."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from torch import Tensor
from transformers import TrainerCallback

from ..metrics import bootstrap_ratio, unigram_entropies
from ..models.configuration_ladd import LaddConfig
from ..schedulers import LaddJointScheduler, LaddScheduler, LaddSequentialScheduler
from ..utils.number_ranges import COUNT, COUNT_OR_ZERO
from ..utils.wrong_objects import described
from .arguments import LaddTrainingArguments
from .sample_budgets import USUAL_BUDGETS, checked_budgets

Score = Callable[[Tensor], Mapping[str, float]]


@dataclass(frozen=True)
class LoggedSamples:
    """Samples of one evaluation.

    Attributes:
        step: number of optimiser steps before it.
        about: parts of the model that wrote them, in words.
        scores: numbers by the schedule's name (empty if there is one without a name), number of evaluations, measure.
        texts: the first samples of each, by schedule and number of evaluations; ids if there is no tokenizer.
    """

    step: int
    about: str
    scores: dict[str, dict[int, dict[str, float]]]
    texts: dict[str, dict[int, list[str]]]

    @property
    def metrics(self) -> dict[str, float]:
        """All scores, by the names that metrics of an evaluation have after its prefix."""
        return {
            f"{samples_name(schedule, budget)}_{measure}": value
            for schedule, of_schedule in self.scores.items()
            for budget, measured in of_schedule.items()
            for measure, value in measured.items()
        }


class LogSamples(TrainerCallback):
    """Has a [`LaddTrainer`] draw, score and log samples at each evaluation.

    The metrics of `trainer.evaluate()` then hold `eval_samples_<evaluations>_<measure>`, or
    `eval_samples_<schedule>_<evaluations>_<measure>` if several `schedulers` are named, so that
    `metric_for_best_model` may be one of them, and `eval_samples_runtime`, the seconds that the samples took, which
    `eval_runtime` includes. Texts, and the first measure plotted against the number of evaluations, go to TensorBoard,
    trackio or wandb if `report_to` names them; the last ones are in `last`.

    The averaged weights write the samples, without guidance, in the run's mixed precision if it has one, with the
    lengths of the training texts. Sample i has the same seed at every evaluation, and on any number of processes.
    Training does not change. While the tokens are trained alone, as in a stage `mdlm`, they are also sampled alone;
    before the prior over the latents is trained, samples come from latents drawn at random, and a warning says so.

    Args:
        budgets: numbers of denoiser evaluations; by default the arguments' `sample_budgets`, or 2 and 8.
        num_samples: samples for each of them; by default the arguments' `samples_per_budget`.
        schedulers: a scheduler, or several by name; by default the joint one, or the sequential one for a model with a
            latent denoiser of its own.
        score: maps `(num_samples, S)` ids, padded to the longest sample, to numbers by name, such as the `judge` of a
            task; it is called in one process. A number `<measure>_stderr` is the standard error of `<measure>`, and an
            error bar in the plot. By default `entropy`, the unigram entropy of a sample's tokens in nats, which falls
            when samples repeat themselves, but says nothing about their likelihood.
        show: number of samples that are logged as texts.
        every: draw at every n-th evaluation of a training run; one that is asked for outside of it always draws.

    Raises `ValueError` for settings of the wrong kind, and, when a trainer is given it, for budgets below the number of
    legs of a schedule's path.
    """

    def __init__(
        self,
        budgets: Sequence[int] | None = None,
        num_samples: int | None = None,
        schedulers: LaddScheduler | Mapping[str, LaddScheduler] | None = None,
        score: Score | None = None,
        show: int = 4,
        every: int = 1,
    ) -> None:
        self.budgets = None if budgets is None else checked_budgets(budgets, "budgets")
        if self.budgets == []:
            raise ValueError("`budgets` is empty; give numbers of denoiser evaluations, such as [2, 8].")
        if num_samples is not None:
            COUNT.check("num_samples", num_samples)
        COUNT_OR_ZERO.check("show", show)
        COUNT.check("every", every)
        if score is not None and (isinstance(score, type) or not callable(score)):
            raise ValueError(
                f"`score` is {described(score)}; give a callable of (N, S) ids that returns numbers by name, such as "
                "`task.judge`."
            )
        self.num_samples, self.schedulers, self.score = num_samples, _by_name(schedulers), score
        self.show, self.every = show, every
        self.last: LoggedSamples | None = None

    def budgets_of(self, args: LaddTrainingArguments) -> list[int]:
        """Returns the numbers of evaluations: its own, or the arguments'."""
        return self.budgets or args.sample_budgets or list(USUAL_BUDGETS)

    def num_samples_of(self, args: LaddTrainingArguments) -> int:
        """Returns the number of samples of each budget: its own, or the arguments'."""
        return self.num_samples or args.samples_per_budget

    def schedulers_of(self, config: LaddConfig) -> dict[str, LaddScheduler]:
        """Returns the schedulers by name, with a model's noise process."""
        usual = LaddSequentialScheduler if config.separate_latent_denoiser else LaddJointScheduler
        return {name: one.for_model(config) for name, one in (self.schedulers or {"": usual()}).items()}

    def check_fits(self, args: LaddTrainingArguments, config: LaddConfig) -> None:
        """Raises `ValueError` for schedules that a model cannot follow, and for what the arguments contradict."""
        for name, scheduler in self.schedulers_of(config).items():
            of = f" of {name!r}" if name else ""
            if config.separate_latent_denoiser and not scheduler.path.latents_first:
                raise ValueError(
                    f"The scheduler{of} of LogSamples moves tokens before the latents are done, but the model denoises "
                    "its latents with a network of their own: use `LaddSequentialScheduler`."
                )
            for budget in self.budgets_of(args):
                try:
                    copy.copy(scheduler).set_timesteps(budget)
                except ValueError as error:
                    raise ValueError(
                        f"LogSamples cannot draw samples{of} with {budget} evaluations: {error}"
                    ) from error
        best = args.metric_for_best_model or ""
        if self.every > 1 and best.removeprefix("eval_").startswith("samples_"):
            raise ValueError(
                f"`metric_for_best_model` is {best!r}, but `every` of LogSamples is {self.every}, and it is needed at "
                "each evaluation: set `every` to 1."
            )

    def scored(self, sequences: Tensor, lengths: Tensor) -> dict[str, float]:
        """Returns the scores of samples: `(N, S)` ids, `(N,)` numbers of tokens. Raises `ValueError` for a score that
        is not numbers by name."""
        if self.score is None:
            rows = [ids[:end] for ids, end in zip(sequences.tolist(), lengths.tolist(), strict=True)]
            return bootstrap_ratio(unigram_entropies(rows)).named("entropy")
        found: Any = self.score(sequences)
        accepted = "give a callable that returns numbers by name, such as {'nats': 1.2}"
        if not isinstance(found, Mapping) or not all(isinstance(name, str) for name in found):
            raise ValueError(f"`score` of LogSamples returned {described(found)}; {accepted}.")
        return {name: _number(value, name, accepted) for name, value in found.items()}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Raises `ValueError` in another trainer than ours, which would never draw samples."""
        if not isinstance(args, LaddTrainingArguments):
            raise ValueError("LogSamples draws samples in a LaddTrainer only: train with one, or leave it out.")


def samples_name(schedule: str, budget: int) -> str:
    """Returns the name of the samples of a schedule with a number of evaluations."""
    return f"samples_{schedule}_{budget}" if schedule else f"samples_{budget}"


def _by_name(given: Any) -> dict[str, LaddScheduler] | None:
    """Returns the schedulers by name, the only one by an empty name. Raises `ValueError` for anything else."""
    if given is None or isinstance(given, LaddScheduler):
        return None if given is None else {"": given}
    named = isinstance(given, Mapping) and given and all(isinstance(name, str) and name for name in given)
    if not named or not all(isinstance(one, LaddScheduler) for one in given.values()):
        raise ValueError(
            f"`schedulers` is {described(given)}; give a scheduler such as LaddJointScheduler(), or a mapping of names "
            "to schedulers, at least one."
        )
    return dict(given)


def _number(value: Any, name: str, accepted: str) -> float:
    """Returns a plain number, which need not be finite."""
    plain = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    if not isinstance(plain, Real) or isinstance(plain, bool):
        raise ValueError(f"`score` of LogSamples returned {described(value)} as {name!r}; {accepted}.")
    return float(plain)
