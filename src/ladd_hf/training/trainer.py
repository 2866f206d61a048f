"""[`LaddTrainer`]: transformers' Trainer with the paper's objective, stages, EMA weights and the bound. Section 6."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

import torch
from accelerate.utils import broadcast
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, TrainerCallback
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import TrainOutput, has_length
from transformers.utils import logging

from ..data.collator import LaddCollator
from ..data.precompute import stores_latents
from ..data.text_layout import adopt_layout
from ..diffusion.meanflow import check_jumps
from ..diffusion.objective import TrainingObjective
from ..diffusion.runs import LATENT_WIDTH, marginal_run, run_path
from ..diffusion.step_counts import StepCounts, batch_counts, maskable_tokens, total
from ..diffusion.time_sampling import TrainingNoise
from ..models.chunks import least_length
from ..models.encoders.pretrained import PretrainedEncoder
from ..models.fsdp import full_tensor
from ..models.latent_anchors import LatentAnchors
from ..models.modeling_ladd import LaddForDiffusionLM
from ..models.vocabulary import Vocabulary, check_tokenizer
from .adapters import check_trainable
from .adaptive_times import AdaptiveTimes
from .arguments import LaddTrainingArguments
from .averaged_teacher import AveragedTeacher
from .ema import EMACallback
from .fsdp_checks import check_sharding
from .length_sampling import EpochLengthGroupedSampler
from .loss_monitor import LossMonitor
from .publishing_trainer import PublishingTrainer
from .run_facts import RunRecorder
from .run_record import RunRecord
from .sampling_trainer import SamplingTrainer
from .searching_trainer import SearchingTrainer
from .stage_checks import check_fixed_before_prior, check_latents_alone_are_trained
from .trainer_arguments import check_model_to_train, check_trainer_arguments
from .trainer_checks import check_enough_latents, check_optimizer, check_options, check_set, warn_of_rounded_weights
from .training_cost import TrainingCost

logger = logging.get_logger(__name__)

# Number of training texts whose statistics standardise latents.
_EXAMPLES_OF_STATISTICS = 4096
# Number of training texts in whose latents anchors are found.
_EXAMPLES_OF_ANCHORS = 20_000


def _share(gathered: nn.Module) -> None:
    """Gives every process the first one's buffers: sums over texts may round differently."""
    for buffer in gathered.buffers():
        buffer.copy_(broadcast(buffer.clone()))


def _evaluation_sets(given: Any) -> dict[str, Any]:
    """Returns the evaluation sets by the names used in messages."""
    if isinstance(given, dict):
        return {f"eval_dataset[{name!r}]": dataset for name, dataset in given.items()}
    return {} if given is None else {"eval_dataset": given}


def _parts_of(model: LaddForDiffusionLM, names: Iterable[str]) -> list[nn.Module]:
    """Returns a model's parts by their names in stages."""
    parts = {"model": (model,), "encoder": (model.encoder, model.quantizer)}
    return [part for name in names for part in parts[name] if part is not None]


def trains_encoder(model: LaddForDiffusionLM) -> bool:
    """True if any of the encoder's weights are trained."""
    return model.encoder is not None and any(one.requires_grad for one in model.encoder.parameters())


class LaddTrainer(SearchingTrainer, PublishingTrainer, SamplingTrainer):
    """Trains a [`LaddForDiffusionLM`].

    An example has `input_ids`, and optionally `labels` with -100 for context tokens, which are neither noised nor
    scored, such as prompts (`prompt_completions`). Shorter texts are padded at their ends; each text has at least as
    many tokens as there are latents.
    Differences from `Trainer`:

    * The loss is the paper's, each part is logged, and a non-finite part stops the run.
    * An example's noise depends on the seed and on its position in the run, not on the number of processes or of
      accumulated batches, and is the same after a resume.
    * A step's update does not depend on how its batch is split into accumulated batches and processes: [`StepCounts`].
    * `evaluate` computes the bound along `args.nelbo_paths`, separately for tokens and latents; `eval_loss` is the
      first path's sum, in nats per token. For continuous latents without anchors, and along a path of the tokens alone,
      that sum is not a bound on the texts' likelihood (see [`Nelbo`]), and no perplexity is reported.
    * Latents are standardised by statistics of the first 4,096 texts, if configured and not yet gathered; those of an
      encoder of our own are gathered, and anchors found in the latents of the first 20,000 texts, at the beginning of
      the first stage that fixes the encoder.
    * A model without a `text_frame` gets it from blocks of `token_blocks`; see [`text_layout`].
    * Evaluation and saved models use the averaged weights; checkpoints hold both.
    * Evaluation counts each text once, even if training drops some, and does not affect the training.
    * With `measures`, evaluation also measures the model on some of the texts: usage of codes, usefulness of latents.
    * With `sample_budgets`, or the callback [`LogSamples`], evaluation also draws, scores and logs samples.
    * Options that would have no effect, or a wrong one, raise an error: see `trainer_checks.py`.
    * A model with peft adapters, by `get_peft_model` or `add_adapter`, is saved as its adapter; `save_pipeline` saves
      the whole model with the adapter merged.

    Raises `ValueError` for arguments of the wrong type; `ValueError` or `OSError` at construction for a pretrained
    encoder that cannot encode the model's texts, according to its configuration and tokenizer, unless the data sets
    have precomputed latents; `ValueError` for an output folder that already holds a run, unless it is resumed or
    `start_anew` is set, and for a checkpoint that is incomplete or of another run; and `NonFiniteLossError` for
    non-finite losses and gradients.
    """

    # The loss is divided by the counts of the whole optimiser step: accumulated batches are summed, see `StepCounts`.
    loss_is_scaled_for_ga = True
    args: LaddTrainingArguments

    def __init__(
        self,
        model: LaddForDiffusionLM | None = None,
        args: LaddTrainingArguments | None = None,
        data_collator: Callable | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        callbacks: list[TrainerCallback] | None = None,
        **kwargs: Any,
    ) -> None:
        args = LaddTrainingArguments("trainer_output") if args is None else args
        check_trainer_arguments(
            model, args, data_collator, train_dataset, eval_dataset, processing_class, callbacks, kwargs
        )
        check_options(args, kwargs)
        for name, dataset in _evaluation_sets(eval_dataset).items():
            check_set(dataset, name)
        tokenizer = processing_class if isinstance(processing_class, PreTrainedTokenizerBase) else None
        if tokenizer is not None and model is not None:
            check_tokenizer(tokenizer, model.config)
        if data_collator is None:
            padding = (x.pad_token_id for x in (tokenizer, getattr(model, "config", None)) if x is not None)
            data_collator = LaddCollator(next((x for x in padding if x is not None), None))
        super().__init__(
            model=model,
            args=args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            callbacks=callbacks,
            **kwargs,
        )
        check_model_to_train(self.model)  # also one made by `model_init`
        check_trainable(self.model)
        self._meet_model()
        self._check_encoder()
        self._check_objective()
        self._meet_processes()
        self._meet_measures()
        self._meet_samples()
        self.ema: EMACallback | None = None
        self._meet_average()
        self._record, self._cost = RunRecord(), TrainingCost()
        self._add_first(RunRecorder(self))
        self._monitor, self._teacher, self._times = LossMonitor(), AveragedTeacher(), AdaptiveTimes()
        self._batch, self.current_gradient_accumulation_steps = 0, 1  # batch within an optimiser step
        self._held: list[dict[str, Any]] = []  # batches at a stream's end, kept for the next step
        self._stream: Any = None  # the last pass over the training data
        self._evaluated: dict[str, Any] = {}  # the data set of each cached evaluation loader

    def _add_first(self, callback: TrainerCallback) -> None:
        """Adds a callback before the user's, which may evaluate or save at the end of a step."""
        self.callback_handler.callbacks.insert(0, callback)

    # --- training ---

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """Extends [`CheckpointedTrainer.train`]; at its end the last losses are checked."""
        resume_from_checkpoint = resume_from_checkpoint or self.args.resume_from_checkpoint
        if self.model_init is not None:  # new weights
            self._record = RunRecord()
        output = super().train(resume_from_checkpoint, *args, **kwargs)
        self._monitor.check(self.accelerator.gather)
        return output

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Prepares the run, after `model_init` has made its model and a checkpoint has been read."""
        self._check_options()  # again, since a search sets them anew
        self.args.check_values()
        check_set(self.train_dataset, "train_dataset")
        self._meet_model()
        self._check_objective()
        warn_of_rounded_weights(self._ladd_model())
        self._meet_processes()
        self._meet_measures()
        self._meet_samples()
        self._meet_average()
        self._teacher.meet(self._ladd_model(), self.args.stage_plan, self.ema, self.args.device)
        self._cost, self._times = TrainingCost(), AdaptiveTimes()
        self._monitor, self._held = LossMonitor(), []  # discard leftovers of an earlier run or a failed batch
        model = self._ladd_model()
        if model.needs_latent_statistics and not model.standardises_when_fixed:
            self._gather_statistics(model)
        return super()._inner_training_loop(*args, **kwargs)

    def _meet_model(self) -> None:
        """Sets the model's tokenizer and the layout of its texts, and the collator's checks of texts."""
        model = self._ladd_model()
        if (tokenizer := self._tokenizer()) is not None:
            check_tokenizer(tokenizer, model.config)
            model.set_tokenizer(tokenizer)
        adopt_layout(model.config, self.train_dataset)
        if isinstance(self.data_collator, LaddCollator):
            self.data_collator = copy.copy(self.data_collator)
            self.data_collator.min_tokens = max(self.data_collator.min_tokens, least_length(model.config))
            self.data_collator.max_tokens = model.config.max_position_embeddings
            self.data_collator.vocabulary = Vocabulary.of(model.config)

    def _meet_average(self) -> None:
        """Sets up the EMA with the current decay, which a hyperparameter search may change."""
        decay = self.args.ema_decay
        if self.ema is not None and (decay == 0 or decay != self.ema.decay):
            self.remove_callback(self.ema)
            self.ema = None
        if self.ema is None and decay:
            self.ema = EMACallback(self._ladd_model(), decay)
            self._add_first(self.ema)

    def _check_objective(self) -> None:
        """Raises `ValueError` for settings that do not fit the model, or its distribution over processes."""
        args, model = self.args, self._ladd_model()
        if model.latent_encoder_frozen and model.encoder is not None and args.stage_plan.frees_encoder:
            model.freeze_latent_encoder(False)  # by an earlier run: the optimiser gets only weights that are free
        stages = len(args.stage_plan.stages) > 1 and model.encoder is not None
        check_sharding(self.accelerator, stages, wrapped=hasattr(self.model, "get_base_model"))
        for objective in args.stage_plan.objectives():
            objective.check_fits(model.config.latent_type)
            check_jumps(model, objective)
        if isinstance(model.encoder, PretrainedEncoder):
            for objective in args.stage_plan.objectives():
                model.encoder.check_noise(0.0 if objective.tokens_alone else objective.encoder_noise)
        if model.latent_anchors is not None and trains_encoder(model):
            check_fixed_before_prior(args.stage_plan, "`latent_prediction_type` is 'anchors', which are found")
        if model.needs_latent_anchors:
            check_enough_latents(model.config, self.train_dataset, _EXAMPLES_OF_ANCHORS)
        if model.standardises_by_own and trains_encoder(model):
            check_fixed_before_prior(args.stage_plan, "`encoder.standardization` is set, whose statistics are gathered")
        if model.latents_alone == "masked":
            check_latents_alone_are_trained(args.stage_plan)
        if args.nelbo_proposals and model.latent_channel is not None:
            width = LATENT_WIDTH if args.nelbo_proposal_width is None else args.nelbo_proposal_width
            for path in args.nelbo_paths:
                marginal_run(run_path(args.nelbo_run, path, with_latents=True), model.latent_channel, width)

    def _meet_processes(self) -> None:
        """Lets processes look for weights without gradient, which those of jumps are where an objective draws none."""
        draws = all(objective.has_jumps for objective in self.args.stage_plan.objectives())
        if self._ladd_model().flow_map and not draws and self.args.ddp_find_unused_parameters is None:
            self.accelerator.ddp_handler.find_unused_parameters = True

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Extends `Trainer.create_optimizer`; refuses an optimiser that averages weights where it conflicts with other
        options."""
        optimizer = super().create_optimizer(model)
        check_optimizer(optimizer, self.args)
        return optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(train_dataset)
        if isinstance(sampler, LengthGroupedSampler):
            seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
            return EpochLengthGroupedSampler(seed, sampler.batch_size, lengths=sampler.lengths)
        return sampler

    def _check_encoder(self) -> None:
        """Checks early that a pretrained encoder can be used."""
        encoder, sets = self._ladd_model().encoder, [self.train_dataset, *_evaluation_sets(self.eval_dataset).values()]
        if isinstance(encoder, PretrainedEncoder) and any(stores_latents(one) is False for one in sets):
            encoder.check()

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Any]:
        """Extends `Trainer.get_batch_samples`, with [`StepCounts`] as counts of the batches of an optimiser step."""
        batches = self._whole_step(epoch_iterator, num_batches, device)
        self._batch = 0
        objective, counts = self.args.objective_at(self.state.global_step), []
        for number, inputs in enumerate(batches):
            tokens, labels = inputs["input_ids"], inputs.get("labels")
            maskable = maskable_tokens(tokens if labels is None else labels, inputs.get("attention_mask"))
            dropped = self._noise(number, len(tokens), tokens.device).drops_latents(objective.latent_dropout)
            counts.append(batch_counts(maskable, dropped))
        totals, processes = total(counts, self.args.device), 1
        if self.args.average_tokens_across_devices:
            totals, processes = self.accelerator.reduce(totals, "sum"), self.args.world_size
        return batches, StepCounts.of(totals, processes)

    def _whole_step(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> list[dict[str, Any]]:
        """Returns the batches of an optimiser step. A stream's incomplete last step is completed in the next pass,
        since a step of fewer batches could not be distinguished from the beginning of one."""
        first, self._stream = epoch_iterator is not self._stream, epoch_iterator
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches - len(self._held), device)
        batches = [*self._held, *batches]
        if len(batches) == num_batches or has_length(self.train_dataset):
            self._held = []
            return batches
        if first and batches:
            raise ValueError(
                f"The training stream ends after {len(batches)} batches, fewer than `gradient_accumulation_steps` "
                f"({num_batches}): repeat it (`repeat()` of a `BlockStream`), or accumulate fewer."
            )
        self._held = batches
        return []

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """Extends `Trainer.training_step`; fixes or frees the encoder for the stage, and counts accumulated batches."""
        self._set_stage()
        quantizer = self._ladd_model().quantizer
        if quantizer is not None:
            if self._batch == 0:
                quantizer.start_step()
            quantizer.accumulates = self._batch + 1 < self.current_gradient_accumulation_steps
        with self._cost.watching(self._kind_of_step(), inputs):
            loss = super().training_step(model, inputs, *args, **kwargs)
        self._batch += 1
        if self._batch == self.current_gradient_accumulation_steps:
            self._times.end_step(lambda sums: self.accelerator.reduce(sums, "sum"))
        return loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Replaces `Trainer.floating_point_ops`: operations of the training step, forward and backward, as counted on
        the first batches of its stage, where transformers has six for each parameter and token. The run's sum is
        `state.total_flos`."""
        flops = self._cost.of(self._kind_of_step(), inputs)
        self._record.add_flops(flops * self.args.world_size, self._stage_number())
        return round(flops)

    def _kind_of_step(self) -> tuple[int, bool, bool, bool]:
        """Returns what a step's cost depends on: its stage, and whether it has a teacher, estimates and jumps, which
        a ramp may begin with later than the stage."""
        objective = self.args.objective_at(self.state.global_step)
        estimates = self._ladd_model().self_conditioning and objective.latent_loss_weight > 0
        return self._stage_number(), objective.consistency_weight > 0, estimates, objective.has_jumps

    def _stage_number(self) -> int:
        return self.args.stage_plan.number_at(self.state.global_step)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Computes the loss of one draw of the objective, with noise numbered by the examples' positions in the run.

        `num_items_in_batch` is the result of `get_batch_samples`; by default the counts of this batch alone.
        """
        # 1. The clean tokens
        tokens = inputs["input_ids"]
        labels = inputs.get("labels")
        # 2. The loss, in one call of the wrapped model
        objective = self.args.objective_at(self.state.global_step)
        noise = self._noise(self._batch, len(tokens), tokens.device)
        if objective.adaptive_times:
            noise = replace(noise, density=self._times.histogram.density(tokens.device))
        outputs = model(
            input_ids=tokens,
            labels=tokens if labels is None else labels,
            attention_mask=inputs.get("attention_mask"),
            objective=objective,
            noise=noise,
            precomputed_latents=inputs.get("precomputed_latents"),
            counts=num_items_in_batch,
            loss_only=True,
            teacher=self._averaged_teacher(objective),
        )
        # 3. Its parts, for the log
        self._times.collect(outputs.time_moments)
        share = 1 / self.current_gradient_accumulation_steps
        statistics = {name: share * value for name, value in outputs.statistics.items()}
        self._monitor.add({**outputs.loss_parts, **statistics, "loss": outputs.loss}, self.state.global_step)
        if tokens.device.type == "cpu":
            self._monitor.check()  # free without a device to synchronise with
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def _averaged_teacher(self, objective: TrainingObjective) -> LaddForDiffusionLM | None:
        """Returns the model with the averaged weights, if the objective aims at its predictions and there is one."""
        if self.ema is None or not objective.asks_average:
            return None
        return self._teacher.at(self.state.global_step, self.ema)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if not self.args.fp16:  # its loss scaling overflows on purpose, and skips such steps
            norm = full_tensor(norm) if isinstance(norm, Tensor) else norm
            value = torch.as_tensor(norm, device=self.args.device)  # some backends give a plain number
            self._monitor.guard("gradient norm", value, self.state.global_step)
            if value.device.type == "cpu":
                self._monitor.check()  # before the optimiser spoils the weights
        return norm

    def _noise(self, number: int, batch_size: int, device: torch.device) -> TrainingNoise:
        """Numbers the examples of a step's batch `number`: step by step, batch by batch, process by process."""
        batch = self.state.global_step * self.args.gradient_accumulation_steps + number
        size = self._train_batch_size // (self.args.world_size if self.accelerator.split_batches else 1)
        first = (batch * self.args.world_size + self.args.process_index) * size
        return TrainingNoise(self.args.seed, torch.arange(first, first + batch_size, device=device))

    def _set_stage(self) -> None:
        """Fixes or frees the encoder at the beginning of a stage, and loads its averaged weights, which will be
        published."""
        model, step, plan = self._ladd_model(), self.state.global_step, self.args.stage_plan
        stage, begins = plan.at(step), plan.begins(step) and self._batch == 0
        if begins:  # with losses of its own
            self._times = AdaptiveTimes()
        if self.ema is not None and step and begins and stage.restart_average:
            self.ema.restart()
        if self.ema is not None and begins:
            for part in _parts_of(model, stage.from_average or ()):
                self.ema.load_into(part)
        frozen = "encoder" in (stage.freeze or ())
        if plan.freezes and model.encoder is not None and model.latent_encoder_frozen != frozen:
            model.freeze_latent_encoder(frozen)
        if begins and trains_encoder(model) and not plan.objective_at(step).tokens_alone:
            model.forget_gathered_latents()  # they are of the encoder as it was
        if model.standardises_when_fixed and not trains_encoder(model):
            self._gather_statistics(model)
        if model.needs_latent_anchors and not trains_encoder(model):  # of latents that are standardised
            self._find_anchors(model)

    def _gather_statistics(self, model: LaddForDiffusionLM) -> None:
        """Gathers the statistics that standardise latents; every process takes those of the first."""
        model.gather_latent_statistics(cast(Iterable, self.train_dataset), _EXAMPLES_OF_STATISTICS)
        _share(cast(Any, model.encoder).statistics)

    def _find_anchors(self, model: LaddForDiffusionLM) -> None:
        """Finds the anchors of the fixed encoder's outputs; every process takes those of the first."""
        model.gather_latent_anchors(cast(Iterable, self.train_dataset), _EXAMPLES_OF_ANCHORS)
        _share(cast(LatentAnchors, model.latent_anchors))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss, averaged over batches and processes since the last log."""
        if "loss" in logs:
            self._monitor.check(self.accelerator.gather)
            parts = self._monitor.means()
            parts.pop("loss", None)
            gathered = {name: self.accelerator.gather(value).mean().item() for name, value in parts.items()}
            logs = {**logs, **gathered}
        super().log(logs, start_time)
