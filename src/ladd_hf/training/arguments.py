"""Arguments of [`LaddTrainer`]: transformers' own, and the objective's."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import torch
from transformers import TrainingArguments

from ..diffusion.objective import OBJECTIVE_RANGES, TrainingObjective
from ..diffusion.paths import time_path
from ..utils.number_ranges import SHARE, NumberRange, check_ranges, whole
from ..utils.wrong_objects import check_number, described
from .stages import STAGE_LENGTHS, STEPS_OR_SHARE, Stages, is_share, steps_of

# Ends of the names of metrics of the bound.
_LOWER_IS_BETTER = ("loss", "nelbo", "nats", "perplexity")
# Terms that shape the encoder, so that they end where it is fixed.
_OF_THE_ENCODER = (
    *("encoder_corruption", "encoder_mask_ratio", "contrastive_weight", "latent_kl_weight"),
    "quantizer_dropout",
)
# What each setting of ours that is a number may be; those of the objective as there, also in stages of their own.
ARGUMENT_RANGES: dict[str, NumberRange] = {
    **OBJECTIVE_RANGES,
    **dict.fromkeys(STAGE_LENGTHS, STEPS_OR_SHARE),
    **{f"stage_1_{name}": SHARE for name in ("fully_masked_share", "latent_dropout", "quantizer_dropout")},
    "latent_warmup_delay": SHARE,
    "ema_decay": NumberRange("a decay from 0 (no EMA) to below 1", least=0, most=1, without_ends=("most",)),
    "nelbo_samples": whole(1, "at least 1 point per example, a whole number"),
}


@dataclass
class LaddTrainingArguments(TrainingArguments):
    """transformers' `TrainingArguments` with the settings of the paper's objective (section 6).

    In two stages, the first `stage_1_steps` train encoder and token denoiser, the rest the denoiser of both channels
    with the encoder fixed, and without the terms that only shape the encoder (corruption of its input, InfoNCE, KL).
    Before them, `mdlm_steps` may train the token stream alone, as MDLM, so that latents are learnt by a network that
    knows the language already; this is ours, not the paper's.
    With `stage_1_steps` of 0 everything is trained at once, the latents' weight w_y rising linearly to
    `latent_loss_weight`. The fields that stage 1 has of its own start with `stage_1_`.

    `mdlm_steps`, `stage_1_steps` and `latent_warmup_steps` below 1 are shares of the run, as transformers'
    `warmup_steps` is: also of one whose length is a number of epochs. A run that would end before its latents' prior is
    trained at all is refused, here where `max_steps` tells, else where training begins; one that is to train none has
    `latent_loss_weight` 0.
    """

    time_distribution: str = field(
        default="independent",
        metadata={
            "help": "Times: 'joint' (shared), 'sequential', 'independent', 'tokens', several joined by '+', or corners "
            "such as '[[1, 1], [1, 0.3], [0, 0]]'."
        },
    )
    token_weighting: str = field(default="plain", metadata={"help": "Token loss: 'plain' or 'elbo', the bound's."})
    latent_weighting: str = field(default="plain", metadata={"help": "Latent loss: 'plain' or 'elbo'."})
    token_loss_weight: float = field(default=1.0, metadata={"help": "w_x."})
    latent_loss_weight: float = field(default=1.0, metadata={"help": "w_y."})
    latent_warmup_steps: float = field(
        default=0, metadata={"help": "One stage: w_y rises linearly over so many steps, or such a share below 1."}
    )
    latent_warmup_delay: float = field(
        default=0.0, metadata={"help": "One stage: share of the warm-up with w_y at 0 first; the paper's is 0.2."}
    )
    min_time: float = field(default=1e-4, metadata={"help": "Smallest time drawn."})
    time_shift: float = field(
        default=1.0, metadata={"help": "a in t <- a t / (1 + (a - 1) t); the paper's is sqrt(latent size / 4096)."}
    )
    fully_masked_share: float = field(default=0.0, metadata={"help": "Share of examples with every token masked."})
    latent_dropout: float = field(default=0.0, metadata={"help": "Share of examples without latents (p_cfg)."})
    quantizer_dropout: float = field(
        default=0.0, metadata={"help": "Share of examples whose codes enter the denoiser unrounded; keeps codes alive."}
    )
    encoder_corruption: float = field(
        default=0.0, metadata={"help": "Upper end of p_r, the probability to hide a masked token from the encoder."}
    )
    encoder_mask_ratio: float = field(
        default=0.0, metadata={"help": "Share of tokens hidden from the encoder, masked in x_t or not."}
    )
    contrastive_weight: float = field(default=0.0, metadata={"help": "Weight of the two-view InfoNCE."})
    contrastive_mask_ratio: float = field(default=0.3, metadata={"help": "Share of tokens masked in each view."})
    contrastive_temperature: float = field(default=0.1, metadata={"help": "Temperature of the InfoNCE."})
    conditional_independence_weight: float = field(default=0.0, metadata={"help": "Weight of that loss."})
    latent_kl_weight: float = field(default=0.0, metadata={"help": "Weight of the latents' KL to a normal."})
    latent_target_gradient: bool = field(
        default=False, metadata={"help": "Let the latent loss move continuous latents as its target, too."}
    )

    tokens_alone: bool = field(default=False, metadata={"help": "Train the token stream alone, as MDLM."})

    mdlm_steps: float = field(
        default=0, metadata={"help": "Steps before all others that train the tokens alone, or their share below 1."}
    )
    stage_1_steps: float = field(
        default=0, metadata={"help": "Steps of stage 1, or their share below 1; 0 trains in one stage."}
    )
    stage_1_time_distribution: str = field(default="tokens", metadata={"help": "Times in stage 1."})
    stage_1_fully_masked_share: float = field(default=0.0, metadata={"help": "As without stage_1_, in stage 1."})
    stage_1_latent_dropout: float = field(default=0.0, metadata={"help": "As without stage_1_, in stage 1."})
    stage_1_quantizer_dropout: float = field(
        default=0.0, metadata={"help": "As without stage_1_, where stage 1 begins; it fades to 0 where it ends."}
    )

    ema_decay: float = field(default=0.9999, metadata={"help": "Decay of the averaged weights; 0 switches EMA off."})
    nelbo_paths: list[str] = field(
        default_factory=lambda: ["joint"],
        metadata={"help": "Evaluation: paths of the bound, by name or by their corners; eval_loss is the first."},
    )
    nelbo_samples: int = field(default=4, metadata={"help": "Evaluation: points of the path per example."})
    resume_if_exists: bool = field(
        default=False, metadata={"help": "Go on from the last whole checkpoint of an output folder that holds a run."}
    )
    start_anew: bool = field(
        default=False,
        metadata={"help": "Train anew in an output folder that holds a run, which moves to `_previous-1` in it."},
    )

    remove_unused_columns: bool = field(default=False, metadata={"help": "Drop data columns the model does not take."})
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Replace non-finite losses in logs; here training stops instead."}
    )
    label_names: list[str] | None = field(default_factory=list, metadata={"help": "Columns with labels."})

    _num_steps: ClassVar[int | None] = None  # of the run, once it has begun

    def __post_init__(self) -> None:
        for name, kind in LaddTrainingArguments.__annotations__.items():
            if name not in (*ARGUMENT_RANGES, "_num_steps"):
                _check_kind(name, getattr(self, name), kind)
        check_ranges(self, ARGUMENT_RANGES)
        if "WORLD_SIZE" in os.environ and not torch.accelerator.is_available():
            self.use_cpu = True  # else each of several processes would train on its own
        metric = self.metric_for_best_model or ""
        if self.greater_is_better is None and metric.endswith(_LOWER_IS_BETTER):
            self.greater_is_better = False  # transformers takes whatever does not end with "loss" for a score
        super().__post_init__()
        if self.data_seed is None:
            self.data_seed = self.seed  # else the order of the data hangs on who called torch.manual_seed last
        in_parts = self.mdlm_steps or self.stage_1_steps or self.latent_warmup_steps or self.tokens_alone
        if self.ddp_find_unused_parameters is None and in_parts:
            self.ddp_find_unused_parameters = True  # the latents' head before it is trained, the encoder of stage 2
        for name in STAGE_LENGTHS:
            setattr(self, name, float(getattr(self, name)))  # a hyperparameter search casts to the type it finds
        self._num_steps = None  # type: ignore[misc]
        self.check_values()
        if self.max_steps > 0:
            self.check_length_of_run(self.max_steps)

    def check_values(self) -> None:
        """Raises `ValueError` for values of ours that are none, or that contradict each other, whenever set."""
        check_ranges(self, ARGUMENT_RANGES)
        if self.start_anew and (self.resume_if_exists or self.resume_from_checkpoint):
            raise ValueError("`start_anew` is set, and going on with an earlier run as well: choose one of them.")
        if self.resume_if_exists and self.save_only_model:
            raise ValueError(
                "`save_only_model` leaves the optimiser's state out of a checkpoint, so `resume_if_exists` can not "
                "go on from it: leave one of the two out."
            )
        if not self.nelbo_paths:
            raise ValueError("`nelbo_paths` is empty; give at least one path, such as 'joint'.")
        for path in self.nelbo_paths:
            time_path(path)
        self.stage_objectives()
        if self.mdlm_steps < 1 and self.stage_1_steps < 1 and self.mdlm_steps + self.stage_1_steps >= 1:
            raise ValueError(
                f"`mdlm_steps` {self.mdlm_steps:g} and `stage_1_steps` {self.stage_1_steps:g} are shares of the run, "
                "and leave nothing to stage 2, in which the latents are learnt: give shares that sum up to less than 1."
            )

    def begin_run(self, num_steps: int) -> None:
        """Takes note of how many steps the run that begins has, of which lengths of stages may be shares."""
        self._num_steps = num_steps  # type: ignore[misc]

    def stages_of(self, num_steps: int) -> Stages:
        """The stages in a run of so many steps."""
        return Stages(**{name: steps_of(getattr(self, name), num_steps) for name in STAGE_LENGTHS})

    @property
    def stages(self) -> Stages:
        """The stages of the run. Raises `ValueError` for shares of a run whose number of steps is not known yet."""
        num_steps = self._num_steps or max(self.max_steps, 0)
        shares = [name for name in STAGE_LENGTHS if is_share(getattr(self, name))]
        if shares and not num_steps:
            raise ValueError(
                f"`{shares[0]}` is {getattr(self, shares[0]):g}, a share of a run whose number of steps is not known "
                "before it begins: give `max_steps`, or a number of steps."
            )
        return self.stages_of(num_steps)

    @property
    def stage_starts(self) -> tuple[int, int, int]:
        """The steps at which what is trained may change: the MDLM's, stage 1's and stage 2's first."""
        return self.stages.starts

    def in_stage_1(self, step: int) -> bool:
        """Whether step number `step`, from 0, belongs to stage 1."""
        return self.stages.in_stage_1(step)

    def in_stage_2(self, step: int) -> bool:
        """Whether step number `step`, from 0, belongs to stage 2, in which the encoder is fixed."""
        return self.stages.in_stage_2(step)

    def objective_at(self, step: int) -> TrainingObjective:
        """What is trained at step number `step`, from 0. Raises `ValueError` for settings it does not accept."""
        return self._objective(self.stages, step)

    def stage_objectives(self) -> dict[str, TrainingObjective]:
        """What each stage trains, by its name: as it begins, and behind the rise of w_y. Raises `ValueError` for
        settings that a stage does not accept."""
        one_step = Stages(int(self.mdlm_steps > 0), int(self.stage_1_steps > 0))  # their lengths may not be known yet
        return {name: self._objective(one_step, start) for name, start in one_step.present().items()}

    def check_length_of_run(self, num_steps: int) -> None:
        """Raises `ValueError` where a run of so many steps ends before the prior over its latents is trained at all."""
        if self.tokens_alone or not self.latent_loss_weight:  # as it was asked for
            return
        stages = self.stages_of(num_steps)
        last = self._objective(stages, max(num_steps - 1, 0))
        if last.latent_loss_weight and not last.tokens_alone:
            return
        stated = {name: f"`{name}` {_stated(getattr(self, name), getattr(stages, name))}" for name in STAGE_LENGTHS}
        length = f"`max_steps` {num_steps}"
        if num_steps != self.max_steps:
            length = f"the run of {num_steps} steps (`num_train_epochs` {self.num_train_epochs:g})"
        before = [stated[name] for name in ("stage_1_steps", "mdlm_steps") if getattr(self, name)]
        if self.stage_1_steps:
            ends = "stage 2, in which the latents are learnt"
        elif num_steps <= stages.mdlm_steps:
            ends = "the latents are learnt"
        else:
            ends = "the latents' weight w_y rises above 0"
            before = [f"`latent_warmup_delay` {self.latent_warmup_delay:g}", stated["latent_warmup_steps"], *before]
        raise ValueError(
            f"{before[0].replace('` ', '` is ', 1)}{''.join(f' with {one}' for one in before[1:])}, but {length} ends "
            f"before {ends}: give fewer steps to what comes before, a share of the run below 1, or more steps in all; "
            "or `latent_loss_weight` 0, if no prior over latents is to be trained."
        )

    def _objective(self, stages: Stages, step: int) -> TrainingObjective:
        options: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(TrainingObjective)}
        if step < stages.mdlm_steps:
            of_tokens = ("token_weighting", "token_loss_weight", "min_time")
            options = {"tokens_alone": True, **{name: options[name] for name in of_tokens}}
            return TrainingObjective(**options)
        if stages.in_stage_1(step):
            options["latent_loss_weight"] = 0.0
            for name in ("time_distribution", "fully_masked_share", "latent_dropout", "quantizer_dropout"):
                options[name] = getattr(self, f"stage_1_{name}")
            options["quantizer_dropout"] *= 1 - (step - stages.mdlm_steps) / stages.stage_1_steps
        elif stages.stage_1_steps:
            options |= dict.fromkeys(_OF_THE_ENCODER, 0.0)
        else:
            options["latent_loss_weight"] *= self._warmup(stages, step - stages.mdlm_steps)
        return TrainingObjective(**options)

    def _warmup(self, stages: Stages, step: int) -> float:
        """Share of w_y at a step: 0 during the delay, then a line up to 1."""
        if not stages.latent_warmup_steps:
            return 1.0
        delay = self.latent_warmup_delay * stages.latent_warmup_steps
        return min(max((step - delay) / max(stages.latent_warmup_steps - delay, 1), 0.0), 1.0)


def _stated(length: float, steps: int) -> str:
    """A length as it was given, and in steps where that was a share."""
    return f"{length:g} ({steps} steps)" if is_share(length) else f"{steps}"


def _check_kind(name: str, value: Any, kind: str) -> None:
    """Raises `ValueError` for a setting's value of another kind than its annotation says."""
    if kind in ("int", "float"):
        check_number(f"`{name}`", value, whole=kind == "int")
    elif kind == "str" and not isinstance(value, str):
        raise ValueError(f"`{name}` is {described(value)}; give a text.")
    elif kind == "list[str]" and not (isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)):
        raise ValueError(f"`{name}` is {described(value)}; give a list of texts.")
