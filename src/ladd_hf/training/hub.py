"""Contents of the model card of a trainer's run, and pushing of its checkpoints to the Hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from accelerate.utils import broadcast_object_list
from huggingface_hub import HfApi
from transformers import PreTrainedTokenizerBase
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy
from transformers.utils import PushInProgress

from ..diffusion.paths import time_path
from ..diffusion.process import NoiseProcess
from ..models.configuration_ladd import LaddConfig
from ..models.encoders.encoder_options import PretrainedOptions
from ..utils.local_paths import public_name
from .model_card import METHODS, Conditions, HeldOutBounds, Recipe, SampleScores
from .recorded_trainer import RecordedTrainer
from .run_facts import circumstances, dataset_identity, prior_is_untrained, tokenizer_name
from .run_record import Measurement, RunRecord, facts_of


def training_recipe(trainer: RecordedTrainer, data: str | None = None, command: str | None = None) -> Recipe:
    """Describes how a trainer's weights were trained. `data` and `command` are found automatically by default."""
    model, record = trainer._ladd_model(), trainer._record
    config, tokenizer = model.config, trainer.processing_class
    encoder = config.encoder_options
    seen = facts_of(list(record.parts()) or [circumstances(trainer)])
    found = {name: seen.pop(name, "not recorded") for name in ("data", "command")}
    facts = {
        "parameters": f"{model.num_parameters():,}",
        "sizes": f"hidden {config.hidden_size}, {config.num_hidden_layers} layers, {config.num_attention_heads} heads, "
        f"vocabulary {config.vocab_size:,}, length {config.max_position_embeddings}",
        "latents": _latents(config),
        **({"encoder": _encoder(encoder)} if isinstance(encoder, PretrainedOptions) else {}),
        "tokenizer": tokenizer_name(tokenizer) if isinstance(tokenizer, PreTrainedTokenizerBase) else "none",
        "steps": _steps(record),
        **_cost(record),
        **seen,
    }
    caution = untrained_prior(trainer) or ""
    return Recipe(METHODS[config.latent_type], data or found["data"], facts, command or found["command"], caution)


def held_out_bounds(trainer: RecordedTrainer, data: str | None = None) -> list[HeldOutBounds]:
    """Returns the bounds of the current weights, or the last ones measured in their training, for each data set.

    `data` is the name of the trainer's own set.
    """
    record, process = trainer._record, NoiseProcess.of(trainer._ladd_model().config)
    bounds, names = [], Counter[str]()
    for one in record.current_measurements():
        name = _set_name(trainer, one, data)
        names[name] += 1
        conditions = Conditions(
            name if names[name] == 1 else f"{name}, number {names[name]}", one.dtype, one.seed, one.hardware
        )
        for (is_bound, unit), paths in _by_meaning(process, one.nats).items():
            after = None if one.steps == record.steps else record.steps
            nats = {path: one.nats[path] for path in paths}
            held_out = HeldOutBounds(nats, is_bound, one.steps, conditions, after, unit, one.role != "training")
            marginal = {path: one.marginal[path] for path in paths if path in one.marginal}
            bounds.append(replace(held_out, marginal=marginal, marginal_of=one.marginal_of))
    return bounds


def check_samples(trainer: RecordedTrainer, samples: SampleScores | None) -> None:
    """Raises `ValueError` for scores of samples that were drawn after another step than that of the current weights."""
    steps = trainer.trained_steps
    if samples is not None and samples.step not in (None, steps):
        raise ValueError(
            f"`samples` were drawn after {samples.step:,} steps, and the weights are those after {steps:,}: "
            "score samples of these weights, or leave `samples` out."
        )


def untrained_prior(trainer: RecordedTrainer) -> str | None:
    """Returns a warning sentence if the trainer's model was never trained to predict its latents, else `None`."""
    record = trainer._record
    if not record.steps or not prior_is_untrained(trainer._ladd_model()):
        return None
    parts = _stages(record)
    return (
        f"The prior over this model's latents is untrained: none of its {record.steps:,} training steps taught it"
        f"{f' ({parts})' if parts else ''}, so a pipeline generates from latents drawn at random."
    )


def push_checkpoint(trainer: RecordedTrainer, checkpoint_folder: str) -> None:
    """Pushes the averaged weights, and the checkpoint too if `hub_strategy` says so.

    `Trainer` itself would push the checkpoint's plain weights. While another push is unfinished this one is skipped;
    with `hub_always_push` it waits for that one, which still reads the folder that is written next.
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


def _steps(record: RunRecord) -> str:
    """Describes the number of training steps of the weights."""
    parts, stages = [f"{record.steps:,}"], _stages(record)
    parts += [stages] * bool(stages)
    parts += [f"the best of {record.last_step:,}"] * (record.last_step > record.steps)
    return ", ".join(parts)


def _cost(record: RunRecord) -> dict[str, str]:
    """Describes the cost of training, if it was counted."""
    flops, seconds = record.cost()
    return {"training cost": f"{flops:.3g} floating-point operations, {seconds:,.0f} s"} if flops else {}


def _stages(record: RunRecord) -> str:
    """Describes the number of steps in each stage, unless all were in one unnamed stage."""
    counts = record.stage_counts()
    if counts.keys() <= {"joint"}:
        return ""
    return ", ".join(f"{steps:,} in the stage '{name}'" for name, steps in counts.items())


def _set_name(trainer: RecordedTrainer, one: Measurement, data: str | None) -> str:
    """Returns a card's name of a data set; only the trainer's own sets have the name `data`."""
    if one.role == "training":
        return f"the training data itself, {one.data}"
    if one.role == "other":
        return f"{one.label or 'another set'}: {one.data}"
    own = trainer.eval_dataset.get(one.label) if isinstance(trainer.eval_dataset, dict) else trainer.eval_dataset
    if data is not None and dataset_identity(own) == one.identity:
        return f"{data}, {one.label}" if one.label else data
    return f"{one.label}: {one.data}" if one.label else one.data


def _by_meaning(process: NoiseProcess, paths: Iterable[str]) -> dict[tuple[bool, str], list[str]]:
    """Groups paths by the meaning of their sum: (true if it bounds the texts' negative log-likelihood, its name)."""
    groups: dict[tuple[bool, str], list[str]] = {}
    for path in paths:
        if process.bounds_texts(path):
            meaning = (True, "bound on nats per token")
        elif time_path(path).vertices[0] != (1, 1):
            meaning = (False, "nats per token, given the latents")
        else:
            meaning = (False, "nats per token, relative to the smallest noise")
        groups.setdefault(meaning, []).append(path)
    return groups


def _latents(config: LaddConfig) -> str:
    if config.latent_type == "none":
        return "none"
    kind = "vectors" if config.latent_type == "continuous" else f"codes out of {config.codebook_size:,}"
    return f"{config.latent_length} {kind}, size {config.latent_dim}"


def _encoder(encoder: PretrainedOptions) -> str:
    """Describes a pretrained encoder: its name, its pooling, and whether it is trained."""
    name = public_name(encoder.name_or_path)
    if encoder.revision is not None:
        name = f"{name} at {encoder.revision}"
    own = ", with its own tokenizer" if encoder.tokenizer == "own" else ""
    kept = "trained with the rest" if encoder.trained else "fixed, and not needed to generate"
    return f"{name}{own}, pooled by {encoder.pooling}; {kept}"
