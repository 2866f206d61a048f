"""Arguments of [`LaddTrainer`]: transformers' own, and the objective's."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from transformers import TrainingArguments

from .number_ranges import SHARE, NumberRange, check_ranges, whole
from .objective import OBJECTIVE_RANGES, TrainingObjective
from .time_paths import time_path

# Terms that shape the encoder, so that they end where it is fixed.
_OF_THE_ENCODER = (
    *("encoder_corruption", "encoder_mask_ratio", "contrastive_weight", "latent_kl_weight"),
    "quantizer_dropout",
)
_STEPS = whole(0, "a number of steps, 0 for none")
# What each setting of ours that is a number may be; those of the objective as there, also in stages of their own.
ARGUMENT_RANGES: dict[str, NumberRange] = {
    **OBJECTIVE_RANGES,
    **dict.fromkeys(("mdlm_steps", "stage_1_steps", "latent_warmup_steps"), _STEPS),
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
    """

    time_distribution: str = field(
        default="independent",
        metadata={"help": "Times: 'joint' (shared), 'sequential', 'independent', 'tokens', or several joined by '+'."},
    )
    token_weighting: str = field(default="plain", metadata={"help": "Token loss: 'plain' or 'elbo', the bound's."})
    latent_weighting: str = field(default="plain", metadata={"help": "Latent loss: 'plain' or 'elbo'."})
    token_loss_weight: float = field(default=1.0, metadata={"help": "w_x."})
    latent_loss_weight: float = field(default=1.0, metadata={"help": "w_y."})
    latent_warmup_steps: int = field(default=0, metadata={"help": "One stage: w_y rises linearly over so many steps."})
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

    mdlm_steps: int = field(default=0, metadata={"help": "Steps before all others that train the tokens alone."})
    stage_1_steps: int = field(default=0, metadata={"help": "Steps of stage 1; 0 trains in one stage."})
    stage_1_time_distribution: str = field(default="tokens", metadata={"help": "Times in stage 1."})
    stage_1_fully_masked_share: float = field(default=0.0, metadata={"help": "As without stage_1_, in stage 1."})
    stage_1_latent_dropout: float = field(default=0.0, metadata={"help": "As without stage_1_, in stage 1."})
    stage_1_quantizer_dropout: float = field(
        default=0.0, metadata={"help": "As without stage_1_, where stage 1 begins; it fades to 0 where it ends."}
    )

    ema_decay: float = field(default=0.9999, metadata={"help": "Decay of the averaged weights; 0 switches EMA off."})
    nelbo_paths: list[str] = field(
        default_factory=lambda: ["joint"],
        metadata={"help": "Evaluation: paths of the bound; eval_loss is the first."},
    )
    nelbo_samples: int = field(default=4, metadata={"help": "Evaluation: points of the path per example."})
    resume_if_exists: bool = field(
        default=False, metadata={"help": "Go on from the last checkpoint of an output folder that holds a run."}
    )

    remove_unused_columns: bool = field(default=False, metadata={"help": "Drop data columns the model does not take."})
    logging_nan_inf_filter: bool = field(
        default=False, metadata={"help": "Replace non-finite losses in logs; here training stops instead."}
    )
    label_names: list[str] | None = field(default_factory=list, metadata={"help": "Columns with labels."})

    def __post_init__(self) -> None:
        if "WORLD_SIZE" in os.environ and not torch.accelerator.is_available():
            self.use_cpu = True  # else each of several processes would train on its own
        super().__post_init__()
        check_ranges(self, ARGUMENT_RANGES)
        if self.data_seed is None:
            self.data_seed = self.seed  # else the order of the data hangs on who called torch.manual_seed last
        in_parts = self.mdlm_steps or self.stage_1_steps or self.latent_warmup_steps or self.tokens_alone
        if self.ddp_find_unused_parameters is None and in_parts:
            self.ddp_find_unused_parameters = True  # the latents' head before it is trained, the encoder of stage 2
        before = self.mdlm_steps + self.stage_1_steps
        if 0 < self.max_steps < before:
            together = f" with `mdlm_steps` {self.mdlm_steps}" if self.mdlm_steps else ""
            raise ValueError(
                f"`stage_1_steps` is {self.stage_1_steps}{together}, but `max_steps` {self.max_steps} ends before "
                "stage 2, in which the latents are learnt: give fewer steps to what comes before, or more in all."
            )
        if not self.nelbo_paths:
            raise ValueError("`nelbo_paths` is empty; give at least one path, such as 'joint'.")
        for path in self.nelbo_paths:
            time_path(path)
        for step in self.stage_starts:
            self.objective_at(step)

    @property
    def stage_starts(self) -> tuple[int, int, int]:
        """The steps at which what is trained may change: the MDLM's, stage 1's and stage 2's first."""
        return 0, self.mdlm_steps, self.mdlm_steps + self.stage_1_steps

    def in_stage_1(self, step: int) -> bool:
        """Whether step number `step`, from 0, belongs to stage 1."""
        return self.mdlm_steps <= step < self.mdlm_steps + self.stage_1_steps

    def in_stage_2(self, step: int) -> bool:
        """Whether step number `step`, from 0, belongs to stage 2, in which the encoder is fixed."""
        return self.stage_1_steps > 0 and step >= self.mdlm_steps + self.stage_1_steps

    def objective_at(self, step: int) -> TrainingObjective:
        """What is trained at step number `step`, from 0. Raises `ValueError` for settings it does not accept."""
        options: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(TrainingObjective)}
        if step < self.mdlm_steps:
            of_tokens = ("token_weighting", "token_loss_weight", "min_time")
            options = {"tokens_alone": True, **{name: options[name] for name in of_tokens}}
            return TrainingObjective(**options)
        if self.in_stage_1(step):
            options["latent_loss_weight"] = 0.0
            for name in ("time_distribution", "fully_masked_share", "latent_dropout", "quantizer_dropout"):
                options[name] = getattr(self, f"stage_1_{name}")
            options["quantizer_dropout"] *= 1 - (step - self.mdlm_steps) / self.stage_1_steps
        elif self.stage_1_steps:
            options |= dict.fromkeys(_OF_THE_ENCODER, 0.0)
        else:
            options["latent_loss_weight"] *= self._warmup(step - self.mdlm_steps)
        return TrainingObjective(**options)

    def _warmup(self, step: int) -> float:
        """Share of w_y at a step: 0 during the delay, then a line up to 1."""
        if not self.latent_warmup_steps:
            return 1.0
        delay = self.latent_warmup_delay * self.latent_warmup_steps
        return min(max((step - delay) / max(self.latent_warmup_steps - delay, 1), 0.0), 1.0)
