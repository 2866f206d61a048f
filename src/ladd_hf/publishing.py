"""What a trainer gives away: its model on the Hub, during and after training, with a card that tells of the run."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import transformers
from accelerate.utils import broadcast_object_list
from huggingface_hub import HfApi
from transformers import PreTrainedTokenizerBase
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy, SchedulerType
from transformers.utils import PushInProgress

from .configuration_ladd import LaddConfig
from .local_paths import public_argument, public_name
from .model_card import METHODS, Conditions, HeldOutBounds, Recipe
from .objective import TrainingObjective

if TYPE_CHECKING:
    from .trainer import LaddTrainer


def hardware(device: torch.device) -> str:
    """What a run was made on, in words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    return device.type.upper()


def running_command(world_size: int = 1) -> str:
    """The command line of this process, as it was launched, without paths that lead to its working directory."""
    if Path(sys.argv[0]).name in ("-c", "") or not sys.argv[0]:
        return "(from an interactive session)"
    launcher = "python"
    if "ACCELERATE_MIXED_PRECISION" in os.environ:  # what `accelerate launch` leaves in the environment
        launcher = "accelerate launch" + (f" --num_processes {world_size}" if world_size > 1 else "")
    elif "TORCHELASTIC_RUN_ID" in os.environ:
        launcher = f"torchrun --nproc_per_node {world_size}"
    return f"{launcher} {shlex.join(map(public_argument, sys.argv))}"


def training_recipe(trainer: LaddTrainer, data: str | None = None, command: str | None = None) -> Recipe:
    """How a trainer's model was trained. `data` and `command` are looked up, if not given."""
    args, model = trainer.args, trainer._ladd_model()
    config, tokenizer = model.config, trainer.processing_class
    batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    schedule = SchedulerType(args.lr_scheduler_type).value
    facts = {
        "parameters": f"{model.num_parameters():,}",
        "sizes": f"hidden {config.hidden_size}, {config.num_hidden_layers} layers, {config.num_attention_heads} heads, "
        f"vocabulary {config.vocab_size:,}, length {config.max_position_embeddings}",
        "latents": _latents(config),
        **({} if config.encoder_name_or_path is None else {"encoder": _encoder(config)}),
        "tokenizer": _tokenizer(tokenizer) if isinstance(tokenizer, PreTrainedTokenizerBase) else "none",
        "steps": f"{trainer.state.global_step:,}"
        + (f", {args.mdlm_steps:,} of them of the tokens alone" if args.mdlm_steps else "")
        + (f", {args.stage_1_steps:,} of them stage 1" if args.stage_1_steps else ""),
        "batch size": f"{batch:,}",
        "learning rate": f"{args.learning_rate} ({schedule}, {args.warmup_steps:g} warm-up steps)",
        "EMA decay": f"{args.ema_decay}" if args.ema_decay else "none",
        "objective": _objective(trainer),
        "seed": args.seed,
        "dtype": _training_dtype(trainer),
        "hardware": f"{args.world_size} x {hardware(args.device)}",
        "versions": f"ladd_hf {version('ladd_hf')}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}, Python {platform.python_version()}",
    }
    return Recipe(
        METHODS[config.latent_type],
        data or _dataset_name(trainer.train_dataset),
        facts,
        command or running_command(args.world_size),
    )


def held_out_bounds(trainer: LaddTrainer, data: str | None = None) -> HeldOutBounds | None:
    """What the trainer's last evaluation found, or `None` where there was none."""
    paths = trainer.args.nelbo_paths
    history = reversed(trainer.state.log_history)
    metrics = next((entry for entry in history if f"eval_{paths[0]}_nelbo" in entry), None)
    if metrics is None:
        return None
    conditions = Conditions(
        data or _dataset_name(trainer.eval_dataset),
        _training_dtype(trainer),
        trainer.args.seed,
        hardware(trainer.args.device),
    )
    nats = {path: (metrics[f"eval_{path}_token_nats"], metrics[f"eval_{path}_latent_nats"]) for path in paths}
    is_bound = trainer._ladd_model().config.latent_type != "continuous"
    return HeldOutBounds(nats, is_bound, int(metrics["step"]), conditions)


def push_checkpoint(trainer: LaddTrainer, checkpoint_folder: str) -> None:
    """Pushes what would be published now, the averaged weights, and where `hub_strategy` says so the checkpoint too.

    The Trainer's own way pushes the checkpoint's plain weights. While another push is unfinished this one is left out;
    with `hub_always_push` that one is waited for, since it still reads the folder that is written next.
    """
    args, pending = trainer.args, trainer.push_in_progress
    if args.hub_strategy == HubStrategy.END:
        return
    unfinished = pending is not None and not pending.is_done()
    (left_out,) = broadcast_object_list([unfinished and not args.hub_always_push])  # as the first process decides
    if left_out:
        return
    if unfinished:
        trainer._finish_current_push()
    trainer.save_model(_internal_call=True)  # in every process: some kinds of parallelism gather weights
    if not trainer.is_world_process_zero():
        return
    trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    trainer.create_model_card()
    message = f"Training in progress, step {trainer.state.global_step}"
    upload = partial(
        HfApi().upload_folder,
        repo_id=str(trainer.hub_model_id),
        token=args.hub_token,
        revision=args.hub_revision,
        run_as_future=True,
    )
    unwanted = ["_*", f"{PREFIX_CHECKPOINT_DIR}-*"]
    jobs: list[Any] = [upload(folder_path=str(args.output_dir), commit_message=message, ignore_patterns=unwanted)]
    if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
        last = args.hub_strategy == HubStrategy.CHECKPOINT
        place = "last-checkpoint" if last else Path(checkpoint_folder).name
        message = f"{message}, checkpoint"
        jobs.append(upload(folder_path=checkpoint_folder, path_in_repo=place, commit_message=message))
    trainer.push_in_progress = cast(Any, PushInProgress(cast(Any, jobs)))


def _dataset_name(dataset: Any) -> str:
    """A data set's name, or its kind, and how many examples it has."""
    if dataset is None:
        return "data that the run does not name"
    name = getattr(getattr(dataset, "info", None), "dataset_name", None) or type(dataset).__name__
    return f"{name} ({len(dataset):,} examples)" if hasattr(dataset, "__len__") else name


def _training_dtype(trainer: LaddTrainer) -> str:
    stored = str(trainer._ladd_model().dtype).removeprefix("torch.")
    mixed = "bfloat16" if trainer.args.bf16 else "float16" if trainer.args.fp16 else None
    return stored if mixed is None else f"{mixed} mixed with {stored}"


def _tokenizer(tokenizer: PreTrainedTokenizerBase) -> str:
    """Its name, or else its kind, such as WordLevel or BPE, and how many tokens it knows."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    kind = type(tokenizer if backend is None else backend.model).__name__
    return f"{public_name(tokenizer.name_or_path) or kind}, {len(tokenizer):,} tokens"


def _latents(config: LaddConfig) -> str:
    if config.latent_type == "none":
        return "none"
    kind = "vectors" if config.latent_type == "continuous" else f"codes out of {config.codebook_size:,}"
    return f"{config.latent_length} {kind}, size {config.latent_dim}"


def _encoder(config: LaddConfig) -> str:
    """A pretrained encoder: which, how its states become latents, and whether it is a part of the model."""
    name = public_name(str(config.encoder_name_or_path))
    if config.encoder_revision is not None:
        name = f"{name} at {config.encoder_revision}"
    own = ", with its own tokenizer" if config.encoder_tokenizer == "own" else ""
    kept = "trained with the rest" if config.encoder_trained else "fixed, and not needed to generate"
    return f"{name}{own}, pooled by {config.encoder_pooling}; {kept}"


def _objective(trainer: LaddTrainer) -> str:
    """The objective at the end of the run, where it is not the default."""
    objective = trainer.args.objective_at(max(trainer.state.global_step - 1, 0))
    default = asdict(TrainingObjective())
    changed = {name: value for name, value in asdict(objective).items() if value != default[name]}
    return ", ".join(f"{name} {value}" for name, value in changed.items()) or "the default"
