"""Arguments of [`LaddTrainer`]: transformers' own, and the objective's."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, ClassVar

import torch
from transformers import TrainingArguments

from ..diffusion.nelbo import path_of_bound
from ..diffusion.objective import OBJECTIVE_RANGES, TrainingObjective
from ..diffusion.paths import path_data
from ..diffusion.runs import run_path
from ..diffusion.time_sampling import distribution_data
from ..utils.help_texts import help_texts
from ..utils.number_ranges import (
    COUNT,
    COUNT_OR_ZERO,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    SEED_OF_64_BITS,
    SHARE_BELOW_ONE,
    NumberRange,
    check_ranges,
    whole,
)
from ..utils.wrong_objects import check_number, described
from .measure_settings import better_direction, measures_from
from .renamed import check_renamed
from .sample_budgets import checked_budgets
from .stage_checks import check_prior_is_trained
from .stage_lengths import RunLength, is_share
from .stage_plan import StagePlan
from .stage_reading import stages_from

# Endings of the names of metrics of the bound.
_LOWER_IS_BETTER = ("loss", "nelbo", "nats", "perplexity")
# Ranges of our numeric settings; those of the objective are defined there.
ARGUMENT_RANGES: dict[str, NumberRange] = {
    **OBJECTIVE_RANGES,
    "ema_decay": NumberRange("a decay from 0 (no EMA) to below 1", least=0, most=1, without_ends=("most",)),
    "samples_per_budget": COUNT,
    "measured_texts": COUNT,
    "nelbo_samples": whole(1, "at least 1 point per example, a whole number"),
    "nelbo_proposals": COUNT_OR_ZERO,
    "nelbo_run": COUNT,
    "nelbo_proposal_width": POSITIVE,
}
# Ranges of transformers' settings, which checks few of them; `None` leaves the choice to transformers.
THEIR_RANGES: dict[str, NumberRange] = {
    **dict.fromkeys(
        ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"), COUNT
    ),
    **dict.fromkeys(("learning_rate", "weight_decay", "adam_epsilon", "neftune_noise_alpha"), NOT_NEGATIVE),
    **dict.fromkeys(("num_train_epochs", "warmup_steps", "eval_delay"), NOT_NEGATIVE),
    **dict.fromkeys(("logging_steps", "save_steps", "eval_steps"), NOT_NEGATIVE),
    **dict.fromkeys(("adam_beta1", "adam_beta2"), SHARE_BELOW_ONE),
    **dict.fromkeys(("eval_accumulation_steps", "ddp_timeout", "ddp_bucket_cap_mb"), COUNT),
    **dict.fromkeys(("dataloader_num_workers", "dataloader_prefetch_factor"), COUNT_OR_ZERO),
    "max_steps": whole(-1, "a number of steps, or -1 where `num_train_epochs` counts"),
    "seed": SEED,
    "data_seed": SEED_OF_64_BITS,
}
_OPTIONAL = tuple(name for name in THEIR_RANGES if getattr(TrainingArguments, name) is None)
_OURS_OPTIONAL = ("nelbo_proposal_width",)


_OF_JSON: Any = dict | str | None  # which a command line gives as JSON
# The settings of the objective: names, defaults, and descriptions from its docstring.
ObjectiveArguments: Any = make_dataclass(
    "ObjectiveArguments",
    [
        (
            f.name,
            _OF_JSON if f.name == "extra_loss_terms" else type(f.default),
            field(default=f.default, metadata={"help": help_texts(TrainingObjective).get(f.name, "")}),
        )
        for f in fields(TrainingObjective)
    ],
)


@dataclass
class LaddTrainingArguments(ObjectiveArguments, TrainingArguments):
    """transformers' `TrainingArguments` with the settings of the paper's objective (section 6), described in
    [`TrainingObjective`].

    `stages` are [`Stage`]s, mappings of their fields, names of stages, or JSON of these. Omitted settings of a stage
    default to those of the run, or of the named stage. The paper's two stages are `[{"name": "encoder", "steps": 500},
    "prior"]`: the first trains encoder and token denoiser, the second the denoiser of both channels with the encoder
    fixed, and without the terms that only shape the encoder (corruption of its input, InfoNCE, KL). A stage `mdlm`
    before them may train the token stream alone, so that latents are learnt by a network that already models the
    language; this is ours, not the paper's. Without stages everything is trained at once.

    A length below 1 is a share of the run, like transformers' `warmup_steps`, and `epochs` are passes over the data;
    both also work in a run whose length is given in epochs. A run that would end before the prior over its latents is
    trained raises an error, here if `max_steps` is given, else when training begins; set `latent_loss_weight` to 0 to
    train no prior.
    """

    stages: list | str | None = field(
        default=None,
        metadata={"help": "Stages in order, as JSON: each a name or a mapping with `name`; see docs/training.md."},
    )
    ema_decay: float = field(default=0.9999, metadata={"help": "Decay of the averaged weights; 0 disables EMA."})
    nelbo_paths: list[str] = field(
        default_factory=lambda: ["joint"],
        metadata={"help": "Evaluation: paths of the bound, by name or corners; eval_loss is the first."},
    )
    nelbo_samples: int = field(default=4, metadata={"help": "Evaluation: points of the path per example."})
    nelbo_proposals: int = field(
        default=0, metadata={"help": "Evaluation: proposals of the bound with latents averaged out; 0: without it."}
    )
    nelbo_run: int = field(default=8, metadata={"help": "Evaluation: steps of the run of that bound, along each path."})
    nelbo_proposal_width: float | None = field(
        default=None, metadata={"help": "Evaluation: spread of the proposals; see docs/measuring.md for the default."}
    )
    sample_budgets: list[int] = field(
        default_factory=list,
        metadata={"help": "Evaluation: draw, score and log samples with these numbers of denoiser evaluations."},
    )
    samples_per_budget: int = field(
        default=64, metadata={"help": "Evaluation: samples for each number of `sample_budgets`."}
    )
    measures: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Evaluation: measures of the model, 'code_usage', 'latent_usefulness', with options as JSON; see "
            "docs/measuring.md."
        },
    )
    measured_texts: int = field(default=256, metadata={"help": "Evaluation: texts of each set for `measures`."})
    resume_if_exists: bool = field(
        default=False, metadata={"help": "Resume from the last complete checkpoint if the output folder holds a run."}
    )
    start_anew: bool = field(
        default=False,
        metadata={"help": "Train from the start even if the output folder holds a run; moves that to `_previous-1`."},
    )

    use_cpu: bool = field(  # `--cpu` to all other commands
        default=False, metadata={"help": "Run on the CPU, even with an accelerator.", "aliases": ["--cpu"]}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Drop columns that the model does not use."})
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Replace non-finite losses in logs; by default training stops instead."}
    )
    label_names: list[str] | None = field(default_factory=list, metadata={"help": "Columns with labels."})

    _length: ClassVar[RunLength | None] = None  # length of the run, set when it begins

    def __new__(cls, *args: Any, **options: Any) -> LaddTrainingArguments:
        """Raises `ValueError` for settings of earlier versions, with their replacements."""
        check_renamed(options)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            if name not in ARGUMENT_RANGES:
                _check_kind(name, getattr(self, name), kind)
        check_ranges(self, ARGUMENT_RANGES, optional=_OURS_OPTIONAL)
        check_ranges(self, THEIR_RANGES, optional=_OPTIONAL)
        if "WORLD_SIZE" in os.environ and not torch.accelerator.is_available():
            self.use_cpu = True  # else several processes would train independently, as of accelerate 1.15.0
        self.measures = measures_from(self.measures)
        metric = self.metric_for_best_model or ""
        if self.greater_is_better is None and (better := better_direction(metric, self.measures)) is not None:
            self.greater_is_better = better == "higher"
        if self.greater_is_better is None and metric.endswith(_LOWER_IS_BETTER):
            self.greater_is_better = False  # for transformers, only names ending in "loss" are losses
        super().__post_init__()
        if not _pins_memory():  # torch warns of a default that it then leaves out
            self.dataloader_pin_memory = False
        if self.data_seed is None:
            # else the data's order depends on the last call of torch.manual_seed, as of accelerate 1.15.0
            self.data_seed = self.seed
        if self.ddp_find_unused_parameters is None and (self.stages or self.tokens_alone):
            self.ddp_find_unused_parameters = True  # the latents' head before it is trained, the encoder of stage 2
        self._length = None  # type: ignore[misc]
        self.check_values()
        if self.max_steps > 0:
            self.check_length_of_run(self.max_steps)

    def check_values(self) -> None:
        """Raises `ValueError` for invalid values, and for settings that contradict each other; may be called again."""
        check_ranges(self, ARGUMENT_RANGES, optional=_OURS_OPTIONAL)
        check_ranges(self, THEIR_RANGES, optional=_OPTIONAL)
        if self.max_grad_norm is not None and not self.max_grad_norm >= 0:  # infinity clips nothing, as 0
            raise ValueError(f"`max_grad_norm` is {self.max_grad_norm}; give a norm above 0, or 0 to clip nothing.")
        if self.start_anew and (self.resume_if_exists or self.resume_from_checkpoint):
            raise ValueError("`start_anew` is set, and going on with an earlier run as well: choose one of them.")
        if self.resume_if_exists and self.save_only_model:
            raise ValueError(
                "`save_only_model` leaves the optimiser's state out of a checkpoint, so `resume_if_exists` cannot "
                "go on from it: leave one of the two out."
            )
        self.measures = measures_from(self.measures)
        self.sample_budgets = checked_budgets(self.sample_budgets, "sample_budgets")
        if not isinstance(self.nelbo_paths, list | tuple) or not self.nelbo_paths:
            given = described(self.nelbo_paths)
            raise ValueError(f"`nelbo_paths` is {given}; give a list of paths, at least one, such as ['joint'].")
        try:
            self.nelbo_paths = [path_data(path_of_bound(path)) for path in self.nelbo_paths]  # type: ignore[misc]
        except ValueError as error:
            raise ValueError(f"`nelbo_paths`: {error}") from error
        if self.nelbo_proposals:
            self._check_runs()
        elif self.nelbo_proposal_width is not None:
            raise ValueError(
                f"`nelbo_proposal_width` is {self.nelbo_proposal_width:g}, the spread of proposals, and there are "
                "none: give `nelbo_proposals` as well, such as 64."
            )
        self.time_distribution = distribution_data(getattr(self, "time_distribution"))  # noqa: B009  a generated field
        self.extra_loss_terms = _weights_from(getattr(self, "extra_loss_terms"))  # noqa: B009
        self.stages = [stage.as_data() for stage in stages_from(self.stages)]
        self.stage_plan.objectives()

    def _check_runs(self) -> None:
        """Raises `ValueError` if the run of the marginalised bound has too few steps for a path."""
        for path in self.nelbo_paths:
            try:
                run_path(self.nelbo_run, path, with_latents=True)
            except ValueError as error:
                raise ValueError(f"`nelbo_run` is {self.nelbo_run}, along {path!r}: {error}") from error

    def begin_run(self, num_steps: int, steps_per_epoch: float = 0) -> None:
        """Sets the length of the run, of which stages' lengths may be shares."""
        self._length = RunLength(num_steps, steps_per_epoch)  # type: ignore[misc]

    def plan_of(self, length: RunLength) -> StagePlan:
        """Returns the stages of a run of that length."""
        return StagePlan.of(stages_from(self.stages), length, self._settings())

    @property
    def stage_plan(self) -> StagePlan:
        """Stages of the run."""
        return self.plan_of(self._length or RunLength(max(self.max_steps, 0)))

    @property
    def stages_are_counted(self) -> bool:
        """True if all lengths of stages are numbers of steps, independent of the run's length."""
        stages = stages_from(self.stages)
        return not any(stage.epochs is not None or is_share(stage.steps) for stage in stages)

    def objective_at(self, step: int) -> TrainingObjective:
        """Returns the objective at step number `step`, from 0. Raises `ValueError` for settings it does not accept."""
        return self.stage_plan.objective_at(step)

    def check_length_of_run(self, num_steps: int) -> None:
        """Raises `ValueError` if a run of `num_steps` steps ends before the prior over its latents is trained."""
        if self.tokens_alone or not self.latent_loss_weight:  # no prior was requested
            return
        length = f"`max_steps` {num_steps}"
        if num_steps != self.max_steps:
            length = f"the run of {num_steps} steps (`num_train_epochs` {self.num_train_epochs:g})"
        steps_per_epoch = self._length.steps_per_epoch if self._length else 0
        check_prior_is_trained(self.plan_of(RunLength(num_steps, steps_per_epoch)), length)

    def _settings(self) -> dict[str, Any]:
        """Returns the settings of the run's objective."""
        return {f.name: getattr(self, f.name) for f in fields(TrainingObjective)}


def _pins_memory() -> bool:
    """True if there is a device to which batches are copied from pinned memory."""
    device = torch.accelerator.current_accelerator(check_available=True)
    return device is not None and device.type != "mps"


def _weights_from(given: Any) -> Any:
    """Reads `extra_loss_terms` from JSON, as a command line gives them; the objective checks them."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"`extra_loss_terms` is {described(given)}, which is not JSON ({error}): give names and weights, such as "
            "'{\"my_term\": 0.1}'."
        ) from error


def _check_kind(name: str, value: Any, kind: str) -> None:
    """Raises `ValueError` for a value of another type than the setting's annotation."""
    if kind in ("int", "float"):
        check_number(f"`{name}`", value, whole=kind == "int")
    elif kind == "str" and not isinstance(value, str):
        raise ValueError(f"`{name}` is {described(value)}; give a text.")


# Annotations of our settings, for fields that command lines set directly.
_KINDS: dict[str, str] = {
    name: kind
    for name, kind in {
        **{f.name: type(f.default).__name__ for f in fields(TrainingObjective)},
        **LaddTrainingArguments.__annotations__,
    }.items()
    if name not in ("time_distribution", "nelbo_paths")  # paths may be data as well, and are checked as such
}
