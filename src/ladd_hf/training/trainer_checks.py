"""Checks before a training runs: options of transformers' Trainer that are not supported, and rounded weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn
from transformers.utils import logging

from ..diffusion.latent_predictions import AnchorPrediction
from ..models.configuration_ladd import LaddConfig
from .arguments import LaddTrainingArguments
from .text_metrics import check_text_metrics

logger = logging.get_logger(__name__)


@dataclass(frozen=True)
class Refusal:
    """An unsupported option, the arguments under which it is refused, and what to do instead.

    Attributes:
        name: of the option.
        unkept: true if it is not supported with the given training arguments.
        reason: the end of the sentence that begins with the option and its value.
    """

    name: str
    unkept: Callable[[LaddTrainingArguments], bool]
    reason: str


REFUSED_ARGUMENTS = (
    Refusal(
        "label_smoothing_factor",
        lambda args: args.label_smoothing_factor != 0,
        "but the loss is the diffusion objective, which is not smoothed: leave it at 0",
    ),
    Refusal(
        "use_liger_kernel",
        lambda args: args.use_liger_kernel,
        "but Liger has no kernels for this model: leave it out, or compile the model with `torch_compile`",
    ),
    Refusal(
        "train_sampling_strategy",
        lambda args: args.train_sampling_strategy == "batch_rebalance",
        "whose batches have unequal sizes, but an example's noise is numbered by its place in even ones: give "
        "'random', 'group_by_length' or 'sequential'",
    ),
    Refusal(
        "fp16",
        lambda args: args.fp16 and args.device.type == "cpu",
        "but a CPU does not train in mixed float16: set `bf16`, or leave it out",
    ),
    Refusal(
        "parallelism_config",
        lambda args: any(getattr(args.parallelism_config, f"{name}_size", 1) > 1 for name in ("tp", "cp", "sp")),
        "but the model's tensors and sequences cannot be split over devices: use data parallelism or FSDP2",
    ),
    Refusal(
        "n_gpu",
        lambda args: args.n_gpu > 1,
        "but one process trains on one GPU: start a process for each with `accelerate launch`, or show it one by "
        "CUDA_VISIBLE_DEVICES",
    ),
)

# Arguments of the trainer itself that are always refused.
REFUSED_CALLABLES = {
    "compute_loss_func": "but the loss is the diffusion objective, set by the training arguments: leave it out, or "
    "override `compute_loss`",
    "preprocess_logits_for_metrics": "but evaluation computes the bound of each text and keeps no logits: leave it "
    "out; `compute_metrics` is given each text's nats",
}
# Those that are checked, whenever they were set.
CHECKED_CALLABLES = (*REFUSED_CALLABLES, "compute_metrics")


def check_options(args: LaddTrainingArguments, trainer_options: Mapping[str, Any]) -> None:
    """Raises `ValueError` for options, of the arguments or the trainer, that would have no effect or a wrong one."""
    for name, reason in REFUSED_CALLABLES.items():
        if trainer_options.get(name) is not None:
            raise ValueError(f"`{name}` is given, {reason}.")
    for refusal in REFUSED_ARGUMENTS:
        if refusal.unkept(args):
            raise ValueError(f"`{refusal.name}` is {getattr(args, refusal.name)!r}, {refusal.reason}.")
    check_text_metrics(args, trainer_options.get("compute_metrics"))


def averages_weights(optimizer: Any) -> Any:
    """Returns the optimiser if it has modes for training and evaluation, as schedule-free ones have, else `None`.

    In evaluation mode it replaces the weights by an average of its own.
    """
    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate's wrapper always has both modes
    has_modes = callable(getattr(inner, "eval", None)) and callable(getattr(inner, "train", None))
    return optimizer if has_modes else None


def check_optimizer(optimizer: Any, args: LaddTrainingArguments) -> None:
    """Raises `ValueError` for an optimiser that averages the weights itself, together with an EMA or
    `load_best_model_at_end`.

    Its evaluation mode changes the trained weights in place, so they must not be another average, nor those of an
    earlier step.
    """
    unkept = "ema_decay" if args.ema_decay else "load_best_model_at_end" if args.load_best_model_at_end else None
    if unkept is None or averages_weights(optimizer) is None:
        return
    inner = type(getattr(optimizer, "optimizer", optimizer)).__name__
    said = f"The optimiser {inner} averages the weights by itself and has modes for training and evaluation, so "
    if unkept == "ema_decay":
        raise ValueError(said + "a second average cannot stand beside it: set `ema_decay` to 0.")
    raise ValueError(said + "weights of an earlier step cannot be given to it: leave `load_best_model_at_end` out.")


def check_set(dataset: Any, name: str) -> None:
    """Raises `ValueError` for a data set that is known to be empty."""
    sized = hasattr(dataset, "__len__") and not isinstance(dataset, torch.utils.data.IterableDataset)
    if sized and len(dataset) == 0:
        raise ValueError(f"The data set `{name}` is empty: give one with at least one text, or none.")


def check_enough_latents(config: LaddConfig, dataset: Any, most: int) -> None:
    """Raises `ValueError` for a data set of known length whose texts, of which `most` are read, have fewer latents than
    the model has anchors."""
    if not hasattr(dataset, "__len__"):
        return
    count, texts = cast(AnchorPrediction, config.latent_prediction).count, min(len(dataset), most)
    if texts * config.latent_length < count:
        raise ValueError(
            f"`latent_prediction_type` asks for {count:,} anchors, but the {texts:,} texts of `train_dataset` have "
            f"{texts * config.latent_length:,} latents: give more texts, or a smaller `count`, some tenth of that."
        )


def warn_of_rounded_weights(model: nn.Module) -> None:
    """Warns of weights that are trained in half precision, in which most steps are too small to change them."""
    halves = {weight.dtype for weight in model.parameters() if weight.requires_grad} & {torch.bfloat16, torch.float16}
    if halves:
        dtype = str(min(halves, key=str)).removeprefix("torch.")
        logger.warning(
            f"The weights to train are {dtype}, which most steps are too small to change: load the model with "
            "`dtype=torch.float32`, and set `bf16` or `fp16` to compute in less."
        )
