"""[`LaddTrainer`]: transformers' Trainer with the paper's objective, stages, EMA weights and the bound. Section 6."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from huggingface_hub import ModelCard
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.fsdp import register_fsdp_forward_method
from torch.utils.data import DataLoader, IterableDataset
from transformers import PreTrainedTokenizerBase, TrainerCallback, set_seed
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.trainer_utils import EvalLoopOutput, PredictionOutput, TrainOutput, has_length
from transformers.utils import logging

from ..data.collator import LaddCollator
from ..data.precompute import stores_latents
from ..data.text_layout import adopt_layout
from ..diffusion.paths import path_name, time_path
from ..diffusion.rng import RowGenerator
from ..diffusion.step_counts import StepCounts, batch_counts, maskable_tokens, total
from ..diffusion.time_sampling import TrainingNoise
from ..models.adapters import base_model, has_adapters
from ..models.encoders.pretrained import PretrainedEncoder
from ..models.fsdp import is_sharded, whole
from ..models.modeling_ladd import LaddForDiffusionLM
from ..models.vocabulary import Vocabulary, check_tokenizer
from ..pipelines import LaddPipeline
from ..schedulers import LaddScheduler
from ..utils.local_paths import public_name
from .adapters import check_trainable
from .arguments import LaddTrainingArguments
from .checkpointed_trainer import CheckpointedTrainer
from .ema import EMA_FILE, EMACallback
from .evaluation_streams import NUMBER, NumberedCollator, NumberedTexts, each_once
from .fsdp_checks import check_sharding
from .hub import check_samples, held_out_bounds, push_checkpoint, training_recipe, untrained_prior
from .isolation import in_dtype, isolated_randomness
from .length_sampling import EpochLengthGroupedSampler
from .loss_monitor import LossMonitor
from .model_card import SampleScores, model_card
from .run_facts import RunRecorder, measurement
from .run_record import RunRecord
from .trainer_arguments import check_model_to_train, check_trainer_arguments
from .trainer_checks import REFUSED_CALLABLES, averages_weights, check_optimizer, check_options, check_set

logger = logging.get_logger(__name__)

# How many training texts latents are standardised by.
_EXAMPLES_OF_STATISTICS = 4096


def evaluation_loss(metrics: dict[str, float]) -> float:
    """What a hyperparameter search minimises, `eval_loss`. Raises `ValueError` where there is none."""
    if "eval_loss" not in metrics:
        raise ValueError(
            f"The evaluation gave no `eval_loss` to minimise, but {', '.join(sorted(metrics))}: give "
            "`compute_objective`, such as `lambda metrics: metrics['eval_mine_loss']` for the set 'mine'."
        )
    return metrics["eval_loss"]


def _evaluation_sets(given: Any) -> dict[str, Any]:
    """Evaluation sets by the name that a message calls them by, however they were given."""
    if isinstance(given, dict):
        return {f"eval_dataset[{name!r}]": dataset for name, dataset in given.items()}
    return {} if given is None else {"eval_dataset": given}


class LaddTrainer(CheckpointedTrainer):
    """Trains a [`LaddForDiffusionLM`].

    An example has `input_ids`, and perhaps `labels` with -100 where a token is context that is neither noised nor
    scored; texts of different lengths are padded at their ends, and have at least as many tokens as there are latents.
    Differences from `Trainer`:

    * The loss is the paper's, each part is logged, and a part that is not finite stops the run.
    * An example's noise depends on the seed and on its place in the run, not on the number of processes or of
      accumulated batches, and goes on where it was after a resume.
    * A step's update does not depend on how its batch is cut among accumulated batches and processes: [`StepCounts`].
    * `evaluate` gives the bound along `args.nelbo_paths`, tokens' and latents' part apart; `eval_loss` is the first
      path's sum, in nats per token. For continuous latents, and along a path of the tokens alone, that sum is no bound
      on the texts' likelihood (see [`Nelbo`]), and there is no perplexity.
    * Latents that are to be standardised are so by statistics of the first 4,096 texts, unless the model has some.
    * A model that does not know how its texts are framed takes it from blocks of `token_blocks`; see [`text_layout`].
    * Evaluation and saved models use the averaged weights; checkpoints hold both.
    * Evaluation counts each text once, whatever training drops, and leaves the training as it is.
    * Options that would have no effect, or a wrong one, are refused: see `trainer_checks.py`.
    * A model with adapters of peft, by `get_peft_model` or `add_adapter`, is saved as its adapter; `save_pipeline`
      saves it whole, the adapter merged in.

    Raises `ValueError` for arguments of another kind; `ValueError` or `OSError` when it is made with a pretrained
    encoder that can not encode the model's texts, as far as its configuration and tokenizer tell, unless the data sets
    bring its latents along; `ValueError` for an output folder that already holds a run, unless it is resumed, or
    `start_anew` is set, and for a checkpoint that is not whole or not of this run; and `NonFiniteLossError` for losses
    and gradients that are no numbers.
    """

    # The loss is divided by what the whole optimiser step scores: accumulated batches add up, see `StepCounts`.
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
        check_model_to_train(self.model)  # a `model_init` has made it
        check_trainable(self.model)
        self._meet_model()
        self._check_encoder()
        self._check_objective()
        self.ema: EMACallback | None = None
        self._meet_average()
        self._record = RunRecord()
        self._add_first(RunRecorder(self))
        self._monitor = LossMonitor()
        self._batch, self.current_gradient_accumulation_steps = 0, 1  # of those that an optimiser step accumulates
        self._held: list[dict[str, Any]] = []  # batches of a stream's end that wait for the rest of their step
        self._stream: Any = None  # the pass over the training data that batches were last taken from
        self._evaluated: dict[str, Any] = {}  # the data set of each evaluation loader that is kept

    def _add_first(self, callback: TrainerCallback) -> None:
        """Adds a callback before the user's, who may evaluate or save where a step ends."""
        self.callback_handler.callbacks.insert(0, callback)

    @property
    def trained_steps(self) -> int:
        """How many steps of training the weights, as they are now, have been through: also those of earlier calls of
        `train`, and no more than they had where the best weights were loaded again."""
        return self._record.steps

    # --- training ---

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """As [`CheckpointedTrainer.train`]; what is still unknown of the last losses is looked at where it ends."""
        resume_from_checkpoint = resume_from_checkpoint or self.args.resume_from_checkpoint
        if self.model_init is not None:  # which makes new weights
            self._record = RunRecord()
        output = super().train(resume_from_checkpoint, *args, **kwargs)
        self._monitor.check(self.accelerator.gather)
        return output

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Here a `model_init` has made its model, and a checkpoint has been read."""
        self._check_options()  # again, for a search sets them anew
        self.args.check_values()
        check_set(self.train_dataset, "train_dataset")
        self._meet_model()
        self._check_objective()
        self._meet_average()
        self._monitor, self._held = LossMonitor(), []  # whatever an earlier run, or too large a batch, has left
        if self._ladd_model().needs_latent_statistics:  # every process looks at the same texts
            self._ladd_model().gather_latent_statistics(cast(Iterable, self.train_dataset), _EXAMPLES_OF_STATISTICS)
        return super()._inner_training_loop(*args, **kwargs)

    def _meet_model(self) -> None:
        """Tells the model its tokenizer and the layout of its texts, and the collator which texts are the model's."""
        model = self._ladd_model()
        if (tokenizer := self._tokenizer()) is not None:
            check_tokenizer(tokenizer, model.config)
            model.set_tokenizer(tokenizer)
        adopt_layout(model.config, self.train_dataset)
        if isinstance(self.data_collator, LaddCollator):
            self.data_collator = copy.copy(self.data_collator)
            self.data_collator.min_tokens = max(self.data_collator.min_tokens, model.config.latent_length)
            self.data_collator.max_tokens = model.config.max_position_embeddings
            self.data_collator.vocabulary = Vocabulary.of(model.config)

    def _meet_average(self) -> None:
        """Has the weights averaged at the decay that is asked for now, which a search for the best one may change."""
        decay = self.args.ema_decay
        if self.ema is not None and (decay == 0 or decay != self.ema.decay):
            self.remove_callback(self.ema)
            self.ema = None
        if self.ema is None and decay:
            self.ema = EMACallback(self._ladd_model(), decay)
            self._add_first(self.ema)

    def _check_options(self) -> None:
        """Raises `ValueError` for options that can not be kept, whenever they were set."""
        check_options(self.args, {name: getattr(self, name) for name in REFUSED_CALLABLES})

    def _check_objective(self) -> None:
        """Raises `ValueError` for settings that the model, or how it is shared among processes, has no use for."""
        args, model = self.args, self._ladd_model()
        two_stages = bool(args.mdlm_steps or args.stage_1_steps) and model.encoder is not None
        check_sharding(self.accelerator, two_stages, wrapped=hasattr(self.model, "get_base_model"))
        for objective in args.stage_objectives().values():
            objective.check_fits(model.config.latent_type)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """As `Trainer.create_optimizer`; refuses one that averages weights by itself beside what can not bear it."""
        optimizer = super().create_optimizer(model)
        check_optimizer(optimizer, self.args)
        return optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        sampler = super()._get_train_sampler(train_dataset)
        if isinstance(sampler, LengthGroupedSampler):
            seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
            return EpochLengthGroupedSampler(seed, sampler.batch_size, lengths=sampler.lengths)
        return sampler

    # --- hyperparameter search ---

    def hyperparameter_search(
        self,
        hp_space: Callable[[Any], dict[str, Any]] | None = None,
        compute_objective: Callable[[dict[str, float]], float] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """As `Trainer.hyperparameter_search`, where the objective is `eval_loss`, to be minimised, if none is given."""
        return super().hyperparameter_search(hp_space, compute_objective or evaluation_loss, *args, **kwargs)

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """As `Trainer.call_model_init`, with the arguments of the trial, whose seed the weights are drawn by."""
        if trial is not None:
            self._hp_search_setup(trial)
            set_seed(self.args.seed)
        return super().call_model_init(trial)

    def _hp_search_setup(self, trial: Any) -> None:
        given, follows = self.args.data_seed, self.args.data_seed == self.args.seed
        super()._hp_search_setup(trial)
        if trial is None or self.hp_search_backend is None:
            return
        if follows and self.args.data_seed == given:  # unless it is searched for itself
            self.args.data_seed = self.args.seed
            self.accelerator.dataloader_config.data_seed = self.args.seed

    def _check_encoder(self) -> None:
        """Finds out now whether a pretrained encoder that will be asked is able to answer."""
        encoder, sets = self._ladd_model().encoder, [self.train_dataset, *_evaluation_sets(self.eval_dataset).values()]
        if isinstance(encoder, PretrainedEncoder) and any(stores_latents(one) is False for one in sets):
            encoder.check()

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Any]:
        """As `Trainer.get_batch_samples`, with [`StepCounts`] as what is in the batches of an optimiser step."""
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
        """The batches of an optimiser step. What a stream has left at its end waits for the next pass over it, since a
        step of fewer batches could not be told from the beginning of one."""
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
        """As `Trainer.training_step`; fixes or frees the encoder for the stage, and counts accumulated batches."""
        self._set_stage()
        quantizer = self._ladd_model().quantizer
        if quantizer is not None:
            if self._batch == 0:
                quantizer.start_step()
            quantizer.accumulates = self._batch + 1 < self.current_gradient_accumulation_steps
        loss = super().training_step(model, inputs, *args, **kwargs)
        self._batch += 1
        return loss

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """One draw of the objective, its noise named by the examples' places in the run.

        `num_items_in_batch` is what `get_batch_samples` counted; of this batch alone, if not given.
        """
        # 1. The clean tokens
        tokens = inputs["input_ids"]
        labels = inputs.get("labels")
        # 2. The loss, in one call of the wrapped model
        outputs = model(
            input_ids=tokens,
            labels=tokens if labels is None else labels,
            attention_mask=inputs.get("attention_mask"),
            objective=self.args.objective_at(self.state.global_step),
            noise=self._noise(self._batch, len(tokens), tokens.device),
            precomputed_latents=inputs.get("precomputed_latents"),
            counts=num_items_in_batch,
            loss_only=True,
        )
        # 3. Its parts, for the log
        share = 1 / self.current_gradient_accumulation_steps
        statistics = {name: share * value for name, value in outputs.statistics.items()}
        self._monitor.add({**outputs.loss_parts, **statistics, "loss": outputs.loss}, self.state.global_step)
        if tokens.device.type == "cpu":
            self._monitor.check()  # costs nothing where there is no device to wait for
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        if not self.args.fp16:  # its loss scaling overflows on purpose, and skips such steps
            norm = whole(norm) if isinstance(norm, Tensor) else norm
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
        """Fixes the encoder where stage 2 begins, at its averaged weights: the ones that will be published."""
        model, step = self._ladd_model(), self.state.global_step
        if self.ema is not None and step and step == self.args.stages.mdlm_steps:
            self.ema.restart()
        frozen = self.args.in_stage_2(step)
        if not self.args.stage_1_steps or model.encoder is None or model.latent_encoder_frozen == frozen:
            return
        if frozen and self.ema is not None:
            self.ema.load_into(model.encoder)
            if model.quantizer is not None:
                self.ema.load_into(model.quantizer)
        model.freeze_latent_encoder(frozen)

    def _ladd_model(self) -> LaddForDiffusionLM:
        return base_model(self.accelerator.unwrap_model(self.model, keep_torch_compile=False))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the parts of the loss, averaged over batches and processes since the last log."""
        if "loss" in logs:
            self._monitor.check(self.accelerator.gather)
            parts = self._monitor.means()
            parts.pop("loss", None)
            gathered = {name: self.accelerator.gather(value).mean().item() for name, value in parts.items()}
            logs = {**logs, **gathered}
        super().log(logs, start_time)

    # --- evaluation ---

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader:
        """As `Trainer.get_eval_dataloader`, every text in it, once."""
        return self._whole_dataloader(super().get_eval_dataloader, eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader:
        """As `Trainer.get_test_dataloader`, every text in it, once."""
        return self._whole_dataloader(super().get_test_dataloader, test_dataset)

    def _whole_dataloader(self, make: Callable[[Any], DataLoader], dataset: Any) -> DataLoader:
        """A data loader that leaves no text out, whatever training does, and tells those that fill a last batch."""
        named = self.eval_dataset if dataset is None else dataset
        named = cast(dict, self.eval_dataset)[named] if isinstance(named, str) else named
        drop_last, collator = self.args.dataloader_drop_last, self.data_collator
        self.args.dataloader_drop_last = False
        if isinstance(named, IterableDataset) and self.args.world_size > 1:
            dataset, self.data_collator = NumberedTexts(named), NumberedCollator(collator)
        key = dataset if isinstance(dataset, str) else "eval"  # as transformers keeps loaders with persistent workers
        if self._evaluated.get(key) is not named:
            getattr(self, "_eval_dataloaders", {}).pop(key, None)
        self._evaluated[key] = named
        try:
            return make(dataset)
        finally:
            self.args.dataloader_drop_last, self.data_collator = drop_last, collator

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns = cast(list, self._signature_columns)
        if NUMBER not in columns:
            columns.append(NUMBER)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """As `Trainer.evaluate`; training goes on as if it had not been called, and the card will tell of which weights
        and of which data set the figures are."""
        with isolated_randomness(self.args.device):
            metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
            if not isinstance(self.eval_dataset if eval_dataset is None else eval_dataset, dict):  # else one by one
                self._record.measurements.append(measurement(self, eval_dataset, metric_key_prefix, metrics))
        return metrics

    def predict(self, *args: Any, **kwargs: Any) -> PredictionOutput:
        """As `Trainer.predict`; the predictions are each text's scored tokens, and its token and latent nats along each
        of `args.nelbo_paths`: `(N, 1 + 2 paths)`."""
        with isolated_randomness(self.args.device):
            return super().predict(*args, **kwargs)

    def evaluation_loop(self, dataloader: DataLoader, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As `Trainer.evaluation_loop`, with the averaged weights, and the bound among its metrics.

        Raises `ValueError` for a data set without a text, or without a token to score.
        """
        self._check_options()
        prefix = kwargs.get("metric_key_prefix", "eval")
        kwargs["prediction_loss_only"] = False
        empty = f"The data set of `{prefix}` holds no text: give one with at least one."
        try:
            with self._averaged(), self._evaluation_dtype():
                output = super().evaluation_loop(dataloader, *args, **kwargs)
        except ValueError as error:  # of a stream that one process reads for all
            if "does not contain any data" not in str(error):
                raise
            raise ValueError(empty) from error
        batches = output.predictions if isinstance(output.predictions, list) else [output.predictions]
        if not batches or batches[0] is None:
            raise ValueError(empty)
        values = np.concatenate([np.asarray(batch, dtype=np.float64) for batch in batches])
        values = values[each_once(values[:, 0]), 1:]
        metrics = {**(output.metrics or {}), **self._bound_metrics(values, prefix)}
        predictions = None if self.args.prediction_loss_only else values
        return EvalLoopOutput(cast(Any, predictions), output.label_ids, metrics, len(values))

    @contextmanager
    def _evaluation_dtype(self) -> Iterator[None]:
        """Rounds the weights for `bf16_full_eval` and `fp16_full_eval`, and gives them back as they were."""
        args = self.args
        flags = {"bf16_full_eval": torch.bfloat16, "fp16_full_eval": torch.float16}
        asked = {name: dtype for name, dtype in flags.items() if getattr(args, name) and not self.is_in_train}
        if asked:
            self._move_model_to_device(cast(nn.Module, self.model), args.device)
        for name in asked:  # else the model would stay in that dtype
            setattr(args, name, False)
        try:
            with in_dtype(self._ladd_model(), next(iter(asked.values()), None)):
                yield
        finally:
            for name in asked:
                setattr(args, name, True)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, Tensor, None]:
        """The bound of each example: `(B, 2 + 2 paths)`: its number in a stream that processes share (else -1), scored
        tokens, then token and latent nats along each path.

        Its noise is seeded by the example's own tokens: the same in any order, batch or number of processes.
        """
        if "nelbo" not in vars(self._ladd_model()):
            register_fsdp_forward_method(self._ladd_model(), "nelbo")  # sharded weights come together for it, too
        inputs = self._prepare_inputs(inputs)
        tokens, mask, labels = inputs["input_ids"], inputs.get("attention_mask"), inputs.get("labels")
        stored = inputs.get("precomputed_latents")
        numbers = inputs.get(NUMBER, torch.full((len(tokens),), -1, device=tokens.device))
        columns: list[Tensor] = []
        with self.compute_loss_context_manager():
            for path in self.args.nelbo_paths:
                random = RowGenerator.from_content(self.args.seed, tokens, mask)
                bound = self._ladd_model().nelbo(tokens, mask, path, self.args.nelbo_samples, random, labels, stored)
                columns = columns or [numbers.double(), bound.num_tokens.double()]
                columns += [bound.token_nats, bound.latent_nats]
        return None, torch.stack(columns, dim=1), None

    def _bound_metrics(self, values: NDArray[np.float64], prefix: str) -> dict[str, float]:
        """Nats per token of the whole evaluation set, by path and by part."""
        tokens = values[:, 0].sum()
        if not tokens:
            raise ValueError(
                f"The data set of `{prefix}` holds no token to score: every one is padding, or labelled -100. "
                "Give texts with tokens that are neither."
            )
        metrics = {}
        names = [path_name(path) for path in self.args.nelbo_paths]
        for index, name in enumerate(names):
            token_nats, latent_nats = values[:, 1 + 2 * index].sum() / tokens, values[:, 2 + 2 * index].sum() / tokens
            metrics[f"{prefix}_{name}_token_nats"] = float(token_nats)
            metrics[f"{prefix}_{name}_latent_nats"] = float(latent_nats)
            metrics[f"{prefix}_{name}_nelbo"] = float(token_nats + latent_nats)
        metrics[f"{prefix}_loss"] = metrics[f"{prefix}_{names[0]}_nelbo"]
        kind = self._ladd_model().config.latent_type
        if kind == "none" or (kind == "discrete" and time_path(self.args.nelbo_paths[0]).vertices[0] == (1, 1)):
            metrics[f"{prefix}_perplexity"] = float(np.exp(metrics[f"{prefix}_loss"]))
        return metrics

    # --- averaged weights ---

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The model with its averaged weights, an EMA or those of an optimiser that averages by itself; as it is,
        without either or before training."""
        optimizer = averages_weights(self.optimizer)
        if optimizer is not None:
            optimizer.eval()
        try:
            with self.ema.applied() if self.ema is not None else nullcontext():
                yield
        finally:
            if optimizer is not None and self.is_in_train:
                optimizer.train()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves the averaged weights. Checkpoints, which training goes on from, get the plain ones and the average."""
        if _internal_call and output_dir is not None:
            super().save_model(output_dir, _internal_call=True)
            if self.ema is not None:
                self.ema.save(output_dir, self.args.should_save)
            if self.args.should_save:
                self._record.save(output_dir)
            return
        self._monitor.check()
        with self._averaged():
            super().save_model(output_dir, _internal_call)

    def save_pipeline(
        self, output_dir: str, scheduler: LaddScheduler | None = None, card: ModelCard | None = None
    ) -> None:
        """Saves a whole pipeline with the averaged weights, to load with `LaddPipeline.from_pretrained`, and its card:
        `card`, or what the run itself tells. Warns where the prior over its latents is untrained, as after a run that
        was stopped in stage 1; its card says so too."""
        self._monitor.check()
        if self.args.should_save and (caution := untrained_prior(self)) is not None:
            logger.warning(caution)
        with self._averaged():
            pipeline = LaddPipeline(self._whole_model(), scheduler=scheduler, tokenizer=self._tokenizer())
            if self.args.should_save:
                pipeline.save_pretrained(output_dir)
                (card or self.model_card(repository=Path(output_dir).resolve().name)).save(
                    Path(output_dir) / "README.md"
                )

    def _whole_model(self) -> LaddForDiffusionLM:
        """The model; where its weights are sharded, a copy that the process that saves has whole."""
        model = self._ladd_model()
        if not is_sharded(model):
            return model
        if has_adapters(model):
            raise ValueError(
                "The model with adapters is sharded, so they can not be merged here: `save_model` saves the adapter; "
                "load it in one process and save its pipeline there."
            )
        weights = self.accelerator.get_state_dict(self.model)
        if not self.args.should_save:
            return model
        copied: nn.Module = LaddForDiffusionLM(copy.deepcopy(model.config))
        copied.to(model.dtype).load_state_dict(weights)
        return cast(LaddForDiffusionLM, copied)

    def _tokenizer(self) -> PreTrainedTokenizerBase | None:
        return self.processing_class if isinstance(self.processing_class, PreTrainedTokenizerBase) else None

    # --- the Hub ---

    def model_card(
        self,
        name: str | None = None,
        repository: str | None = None,
        data: str | None = None,
        eval_data: str | None = None,
        command: str | None = None,
        samples: SampleScores | None = None,
        **options: Any,
    ) -> ModelCard:
        """The card of the weights as they are now: how they were trained, the last figures of each data set that they
        were evaluated on, and `samples`' scores, if they have been measured.

        Names, data sets and the command are looked up, if not given: `eval_data` is what the trainer's own data set,
        or its dict of them, is called. `options` are [`~model_card.model_card`]'s. Raises `ValueError` for samples of
        which it is known that they are of other weights.
        """
        check_samples(self, samples)
        repository = repository or self.hub_model_id or Path(str(self.args.output_dir)).resolve().name
        return model_card(
            name or Path(repository).name,
            training_recipe(self, data, command),
            samples,
            held_out_bounds(self, eval_data),
            repository,
            text=self._tokenizer() is not None,
            **options,
        )

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Writes the run's card to the output folder; the arguments go into its metadata. Tasks are this library's."""
        if not self.is_world_process_zero():
            return
        base = public_name(finetuned_from) if finetuned_from else None
        given = {"language": language, "license": license, "base_model": base, "datasets": dataset_tags}
        names = [dataset] if isinstance(dataset, str) else dataset
        card = self.model_card(
            model_name,
            data=", ".join(names) if names else None,
            tags=[tags] if isinstance(tags, str) else tags or [],
            adapter_of=public_name(self._ladd_model().name_or_path or "user/base")
            if has_adapters(self._ladd_model())
            else None,
            metadata={key: value for key, value in given.items() if value is not None},
        )
        card.save(Path(str(self.args.output_dir)) / "README.md")

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """As `Trainer.push_to_hub`: the averaged weights, their code, tokenizer and card."""
        self._finish_current_push()  # it still reads the folder that is written next
        with self._ladd_model().code_included():
            return super().push_to_hub(*args, **kwargs)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._saved_aside is not None:  # not before it has its name
            return
        with self._ladd_model().code_included():
            push_checkpoint(self, checkpoint_folder)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        # never overwrite good checkpoints with weights that a bad loss has spoilt, in whichever process
        self._monitor.check(self.accelerator.gather)
        super()._save_checkpoint(model, trial)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self._record = RunRecord.load(checkpoint)
        # here, for DeepSpeed loads the weights without a method of ours
        if self.ema is not None and checkpoint is not None:
            self.ema.load(checkpoint)
        elif checkpoint is not None and Path(checkpoint, EMA_FILE).exists():
            logger.warning(
                f"The checkpoint {checkpoint} has averaged weights, which are dropped, for `ema_decay` is 0: give the "
                "decay of its run to keep them."
            )

    def _load_best_model(self) -> None:
        super()._load_best_model()
        best = str(self.state.best_model_checkpoint)
        self._record.steps = RunRecord.load(best).steps
        if self.ema is not None:
            self.ema.load(best)
