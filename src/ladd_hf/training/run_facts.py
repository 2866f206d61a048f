"""Facts about a trainer's run: its circumstances, and the results of its evaluations."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate.utils import DistributedType
from torch.distributed.tensor import DTensor
from transformers import PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_utils import SchedulerType, has_length

from ..diffusion.objective import TrainingObjective
from ..diffusion.paths import path_data, path_name
from ..models.adapters import has_adapters
from ..models.eval_mode import evaluation_mode
from ..models.modeling_ladd import LaddForDiffusionLM
from ..utils import own_command
from ..utils.local_paths import public_argument, public_name
from .arguments import LaddTrainingArguments
from .recorded_trainer import RecordedTrainer
from .run_record import Measurement, Run
from .stage_checks import check_stages_kept
from .stage_lengths import is_share
from .stages import Ramp


class RunRecorder(TrainerCallback):
    """Keeps the trainer's record, and refuses a run that is too short for what it is to train.

    It reads the trainer's record at each event, since resuming, and a `model_init`, replace it.
    """

    def __init__(self, trainer: RecordedTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the record of a stretch of training. Raises `ValueError` if its number of steps, which is known only
        now, is too small."""
        args.begin_run(
            state.max_steps, steps_per_epoch(kwargs.get("train_dataloader"), args.gradient_accumulation_steps)
        )
        if self.trainer._ladd_model().config.latent_type != "none":
            args.check_length_of_run(state.max_steps)
        if state.global_step:
            before = next((run.stages for run in reversed(self.trainer._record.runs) if run.facts), [])
            check_stages_kept(args.stage_plan, state.global_step, before)
        self.trainer._record.begin(circumstances(self.trainer))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starts the clock."""
        self._start = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Counts the step, and its time."""
        stage = args.stage_plan.number_at(state.global_step - 1)
        self.trainer._record.count_step(time.perf_counter() - self._start, stage)


def steps_per_epoch(loader: Any, accumulated: int) -> int:
    """Returns the number of optimiser steps per pass over a data loader, as in transformers; 0 for an unknown
    length."""
    return max(math.ceil(len(loader) / accumulated), 1) if loader is not None and has_length(loader) else 0


def circumstances(trainer: RecordedTrainer) -> Run:
    """Returns the trainer's present circumstances, as a stretch of training without steps."""
    args = trainer.args
    told = _objectives(args)
    facts = {
        "batch size": f"{trainer.get_total_train_batch_size(args):,}",
        "learning rate": _learning_rate(trainer),
        "EMA decay": f"{args.ema_decay}" if args.ema_decay else "none",
        "objective": told[0],
        "seed": f"{args.seed}",
        "dtype": training_dtype(trainer),
        "hardware": f"{args.world_size} x {hardware(args.device)}",
        "versions": f"ladd_hf {version('ladd_hf')}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}, Python {platform.python_version()}",
        "data": dataset_name(trainer.train_dataset),
        "command": running_command(args.world_size),
    }
    if not (trainer.state.max_steps or args.max_steps > 0):  # stages may be shares of a number not known yet
        return Run(0, facts, 0, [], [(0, told[0])])
    plan = args.stage_plan
    return Run(0, facts, trainer.state.global_step, plan.lengths(), list(zip(plan.starts, told, strict=True)))


def measurement(trainer: RecordedTrainer, dataset: Any, prefix: str, metrics: Mapping[str, float]) -> Measurement:
    """Returns the results on `dataset`: a data set, the name of one of the trainer's, or `None` for its own."""
    own = trainer.eval_dataset
    sets = own if isinstance(own, dict) else {"": own}
    name: str | None = "" if dataset is None else dataset if isinstance(dataset, str) else None
    if name is None:
        name = next((key for key, one in sets.items() if one is dataset), None)
    else:
        dataset = sets[name]
    role = "other" if name is None else "own"
    if dataset is trainer.train_dataset:
        role = "training"
    label = prefix.removeprefix("eval_") if name is None and prefix != "eval" else name or ""
    args = trainer.args
    nats = {
        path if isinstance(path, str) else json.dumps(path_data(path)): (
            metrics[f"{prefix}_{path_name(path)}_token_nats"],
            metrics[f"{prefix}_{path_name(path)}_latent_nats"],
        )
        for path in args.nelbo_paths
    }
    return Measurement(
        trainer.trained_steps,
        role,
        label,
        dataset_name(dataset),
        dataset_identity(dataset),
        nats,
        evaluation_dtype(trainer),
        args.seed,
        hardware(args.device),
        {
            path if isinstance(path, str) else json.dumps(path_data(path)): (
                metrics[f"{prefix}_{path_name(path)}_marginal_nelbo"],
                metrics[f"{prefix}_{path_name(path)}_marginal_stderr"],
            )
            for path in args.nelbo_paths
            if args.nelbo_proposals
        },
        _told_proposals(args),
    )


def _told_proposals(args: LaddTrainingArguments) -> str:
    """Describes the marginalised bound of an evaluation; empty if there is none."""
    if not args.nelbo_proposals:
        return ""
    width = "" if args.nelbo_proposal_width is None else f" of width {args.nelbo_proposal_width:g}"
    return f"{args.nelbo_proposals:,} proposals{width}, runs of {args.nelbo_run:,} evaluations"


def prior_is_untrained(model: LaddForDiffusionLM) -> bool:
    """True if a model was never trained to predict its latents: the head's weights, adapters included, are the zeros
    that they start at. For sharded weights, this process's shard is tested, of adapters that of all but LoRA's random
    A."""
    if model.config.latent_type == "none":
        return False
    denoiser = model.latent_denoiser
    head: Any = model.latent_head if denoiser is None else denoiser.head
    projection = head.output.proj
    if not has_adapters(model) or any(isinstance(one, DTensor) for one in projection.parameters()):
        weights = (one for name, one in projection.named_parameters() if ".lora_A." not in name)
        return not any(_local(one).any() for one in weights)
    with torch.no_grad(), evaluation_mode(projection):  # with any kind of adapter, or none
        return not projection(torch.eye(projection.in_features, device=model.device, dtype=model.dtype)).any()


def hardware(device: torch.device) -> str:
    """Describes a run's hardware in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    return device.type.upper()


def running_command(world_size: int = 1) -> str:
    """Returns the command line of this process as launched, without paths that lead to its working directory."""
    program = Path(sys.argv[0]).name
    if program in ("-c", "") or not sys.argv[0]:
        return "(from an interactive session)"
    if program.endswith("kernel_launcher.py"):  # ipykernel_launcher.py, colab_kernel_launcher.py
        return "(from a notebook)"
    words = list(map(public_argument, sys.argv))
    if own_command.launched() or own_command.is_alone():
        return shlex.join(words)
    if own_command.is_running():  # which others launch as a module
        words = ["-m", own_command.MODULE, *words[1:]]
    launcher = "python"
    if "ACCELERATE_MIXED_PRECISION" in os.environ:  # set by `accelerate launch`
        launcher = "accelerate launch" + (f" --num_processes {world_size}" if world_size > 1 else "")
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        launcher = f"torchrun --nproc_per_node {world_size}"
    return f"{launcher} {shlex.join(words)}"


def dataset_name(dataset: Any) -> str:
    """Returns a data set's name or kind, and its number of examples."""
    if dataset is None:
        return "data that the run does not name"
    name = getattr(getattr(dataset, "info", None), "dataset_name", None) or type(dataset).__name__
    return f"{name} ({len(dataset):,} examples)" if hasattr(dataset, "__len__") else name


def dataset_identity(dataset: Any) -> str:
    """Identifies a data set's content: its fingerprint, or a digest of its size and of three examples; for a stream,
    which would have to be read, the object's id."""
    fingerprint = getattr(dataset, "_fingerprint", None)
    if isinstance(fingerprint, str):
        return fingerprint
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")) or not len(dataset):
        return "" if dataset is None else f"stream {id(dataset)}"
    digest = hashlib.sha256(str(len(dataset)).encode())
    for row in sorted({0, len(dataset) // 2, len(dataset) - 1}):
        for name, value in sorted(dict(dataset[row]).items()):
            digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:16]


def training_dtype(trainer: RecordedTrainer) -> str:
    """Describes the dtypes of stored weights and of multiplications, as actually used."""
    stored, accelerator = str(trainer._ladd_model().dtype).removeprefix("torch."), trainer.accelerator
    # on a CPU fp16 is accepted and ignored as of accelerate 1.15.0
    mixes = accelerator.native_amp or accelerator.distributed_type == DistributedType.DEEPSPEED
    mixed = {"bf16": "bfloat16", "fp16": "float16"}.get(accelerator.mixed_precision) if mixes else None
    return stored if mixed is None else f"{mixed} mixed with {stored}"


def evaluation_dtype(trainer: RecordedTrainer) -> str:
    """Returns the dtype of evaluation, which may be half precision throughout."""
    if not trainer.is_in_train and trainer.args.bf16_full_eval:
        return "bfloat16"
    if not trainer.is_in_train and trainer.args.fp16_full_eval:
        return "float16"
    return training_dtype(trainer)


def tokenizer_name(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns its name, or else its kind, such as WordLevel or BPE, and its number of tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    kind = type(tokenizer if backend is None else backend.model).__name__
    return f"{public_name(tokenizer.name_or_path) or kind}, {len(tokenizer):,} tokens"


def _learning_rate(trainer: RecordedTrainer) -> str:
    args, num_steps = trainer.args, trainer.state.max_steps or max(trainer.args.max_steps, 0)
    warmup = f"{args.get_warmup_steps(num_steps):,} warm-up steps" if num_steps else f"warm-up {args.warmup_steps:g}"
    return f"{args.learning_rate} ({SchedulerType(args.lr_scheduler_type).value}, {warmup})"


def _objectives(args: LaddTrainingArguments) -> list[str]:
    """Describes the settings of each stage's objective that are not the default."""
    default, told, plan = asdict(TrainingObjective()), [], args.stage_plan
    for stage, objective in zip(plan.stages, plan.objectives(), strict=True):
        changed = {key: value for key, value in asdict(objective).items() if value != default[key]}
        text = ", ".join(f"{key} {value}" for key, value in changed.items()) or "the default"
        told.append(
            text + "".join(_told_ramp(name, ramp) for name, ramp in stage.ramps.items() if getattr(objective, name))
        )
    return told


def _told_ramp(name: str, ramp: Ramp) -> str:
    """Describes a ramp in words."""
    over = (
        "the stage" if ramp.steps is None else f"{ramp.steps:g} {'of the steps' if is_share(ramp.steps) else 'steps'}"
    )
    return f", {name} {'rising' if ramp.end > ramp.start else 'falling'} over {over}"


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
