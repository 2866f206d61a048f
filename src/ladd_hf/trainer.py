"""[`LaddTrainer`]: transformers' Trainer with the paper's objective, stages, EMA weights and the bound. Section 6."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from huggingface_hub import ModelCard
from torch import Tensor, nn
from torch.distributed.fsdp import register_fsdp_forward_method
from transformers import PreTrainedTokenizerBase, Trainer, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput, TrainOutput, get_last_checkpoint

from .adapter_training import ADAPTER_FILE, check_trainable, load_adapter_weights
from .adapters import base_model, has_adapters
from .data.collator import LaddCollator
from .data.precompute import stores_latents
from .ema import EMACallback
from .loss_monitor import LossMonitor
from .model_card import SampleScores, model_card
from .modeling_ladd import LaddForDiffusionLM
from .pipelines import LaddPipeline
from .pretrained_encoder import PretrainedEncoder
from .publishing import held_out_bounds, push_checkpoint, training_recipe
from .randomness import RowGenerator
from .schedulers import LaddScheduler
from .sharding import check_resuming, check_sharding, is_sharded, whole
from .time_paths import time_path
from .training_args import LaddTrainingArguments
from .training_noise import TrainingNoise
from .vocabulary import Vocabulary, check_tokenizer

# What a finished run leaves in its folder, checkpoints apart.
_FILES_OF_A_MODEL = (
    "model_index.json",
    "model.safetensors",
    "model.safetensors.index.json",
    ADAPTER_FILE,
    "training_args.bin",
)
# How many training texts latents are standardised by.
_EXAMPLES_OF_STATISTICS = 4096


class LaddTrainer(Trainer):
    """Trains a [`LaddForDiffusionLM`].

    An example has `input_ids`, and perhaps `labels` with -100 where a token is context that is neither noised nor
    scored; texts of different lengths are padded at their ends, and have at least as many tokens as there are latents.
    Differences from `Trainer`:

    * The loss is the paper's, each part is logged, and a part that is not finite stops the run.
    * An example's noise depends on the seed and on its place in the run, not on the number of processes or of
      accumulated batches, and goes on where it was after a resume.
    * `evaluate` gives the bound along `args.nelbo_paths`, tokens' and latents' part apart; `eval_loss` is the first
      path's sum, in nats per token. For continuous latents, and along a path of the tokens alone, that sum is no bound
      on the texts' likelihood (see [`Nelbo`]), and there is no perplexity.
    * Latents that are to be standardised are so by statistics of the first 4,096 texts, unless the model has some.
    * Evaluation and saved models use the averaged weights; checkpoints hold both.
    * A model with adapters of peft, by `get_peft_model` or `add_adapter`, is saved as its adapter; `save_pipeline`
      saves it whole, the adapter merged in.

    Raises `ValueError` or `OSError` when it is made with a pretrained encoder that can not encode the model's texts, as
    far as its configuration and tokenizer tell, unless the data sets bring its latents along; `ValueError` for an
    output folder that already holds a run, unless it is resumed; and `NonFiniteLossError` for losses and gradients that
    are no numbers.
    """

    # The loss is a mean over each batch, which the Trainer then divides by the number of accumulated batches.
    loss_is_scaled_for_ga = False
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
        check_trainable(self.model)
        self._meet_model()
        self._check_encoder()
        two_stages = bool(args.mdlm_steps or args.stage_1_steps) and self._ladd_model().encoder is not None
        check_sharding(self.accelerator, two_stages, wrapped=hasattr(self.model, "get_base_model"))
        for step in args.stage_starts:
            args.objective_at(step).check_fits(self._ladd_model().config.latent_type)
        self.ema = EMACallback(self._ladd_model(), args.ema_decay) if args.ema_decay else None
        if self.ema is not None:
            self.add_callback(self.ema)
        self._monitor = LossMonitor()
        self._microstep = (-1, 0)  # optimiser step, batches accumulated in it so far

    # --- training ---

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """As `Trainer.train`; refuses an output folder with a run in it, unless that is resumed."""
        if not resume_from_checkpoint:
            resume_from_checkpoint = self._checkpoint_to_resume()
        if resume_from_checkpoint:
            check_resuming(self.accelerator)
        output = super().train(resume_from_checkpoint, *args, **kwargs)
        self._monitor.check(self.accelerator.gather)
        return output

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """Here a `model_init` has made its model, and a checkpoint has been read."""
        self._meet_model()
        if self._ladd_model().needs_latent_statistics:  # every process looks at the same texts
            self._ladd_model().gather_latent_statistics(cast(Iterable, self.train_dataset), _EXAMPLES_OF_STATISTICS)
        return super()._inner_training_loop(*args, **kwargs)

    def _meet_model(self) -> None:
        """Tells the model its tokenizer, and the collator which texts are the model's."""
        model = self._ladd_model()
        if (tokenizer := self._tokenizer()) is not None:
            check_tokenizer(tokenizer, model.config)
            model.set_tokenizer(tokenizer)
        if isinstance(self.data_collator, LaddCollator):
            self.data_collator = copy.copy(self.data_collator)
            self.data_collator.min_tokens = max(self.data_collator.min_tokens, model.config.latent_length)
            self.data_collator.max_tokens = model.config.max_position_embeddings
            self.data_collator.vocabulary = Vocabulary.of(model.config)

    def _check_encoder(self) -> None:
        """Finds out now whether a pretrained encoder that will be asked is able to answer."""
        encoder, evaluated = self._ladd_model().encoder, self.eval_dataset
        sets = [self.train_dataset, *(evaluated.values() if isinstance(evaluated, dict) else [evaluated])]
        if isinstance(encoder, PretrainedEncoder) and any(stores_latents(one) is False for one in sets):
            encoder.check()

    def _checkpoint_to_resume(self) -> str | None:
        """The last checkpoint of an output folder that may be resumed. Raises `ValueError` for a run that may not."""
        folder = str(self.args.output_dir)
        last = get_last_checkpoint(folder) if os.path.isdir(folder) else None
        if last is not None and self.args.resume_if_exists:
            return last
        if last is not None:
            raise ValueError(
                f"The output folder {folder} already holds a run (up to {os.path.basename(last)}): "
                "choose another folder, or go on with it (`resume_from_checkpoint=True` or `resume_if_exists`)."
            )
        held = [name for name in _FILES_OF_A_MODEL if os.path.exists(os.path.join(folder, name))]
        if held:
            raise ValueError(
                f"The output folder {folder} already holds a model ({', '.join(held)}) and no checkpoint to go on "
                "from: choose another folder."
            )
        return None

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Tensor:
        """As `Trainer.training_step`; fixes or frees the encoder for the stage, and counts accumulated batches."""
        self._set_stage()
        step, micro = self._microstep
        self._microstep = (self.state.global_step, micro + 1 if step == self.state.global_step else 0)
        return super().training_step(model, inputs, *args, **kwargs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """One draw of the objective, its noise named by the examples' places in the run."""
        # 1. The clean tokens
        tokens = inputs["input_ids"]
        labels = inputs.get("labels")
        # 2. The loss, in one call of the wrapped model
        outputs = model(
            input_ids=tokens,
            labels=tokens if labels is None else labels,
            attention_mask=inputs.get("attention_mask"),
            objective=self.args.objective_at(self.state.global_step),
            noise=self._noise(len(tokens), tokens.device),
            precomputed_latents=inputs.get("precomputed_latents"),
            loss_only=True,
        )
        # 3. Its parts, for the log
        self._monitor.add({**outputs.loss_parts, "loss": outputs.loss}, self.state.global_step)
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

    def _noise(self, batch_size: int, device: torch.device) -> TrainingNoise:
        """Numbers the examples of this batch: step by step, accumulated batch by batch, process by process."""
        step, micro = self._microstep
        batch = (step * self.args.gradient_accumulation_steps + micro) * self.args.world_size
        first = (batch + self.args.process_index) * self.args.train_batch_size
        return TrainingNoise(self.args.seed, torch.arange(first, first + batch_size, device=device))

    def _set_stage(self) -> None:
        """Fixes the encoder where stage 2 begins, at its averaged weights: the ones that will be published."""
        model, step = self._ladd_model(), self.state.global_step
        if self.ema is not None and step and step == self.args.mdlm_steps:
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

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As `Trainer.evaluation_loop`, with the averaged weights, and the bound among its metrics."""
        prefix = kwargs.get("metric_key_prefix", "eval")
        kwargs["prediction_loss_only"] = False
        with self._averaged():
            output = super().evaluation_loop(*args, **kwargs)
        metrics = {**(output.metrics or {}), **self._bound_metrics(output.predictions, prefix)}
        return output._replace(metrics=metrics)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[None, Tensor, None]:
        """The bound of each example: `(B, 1 + 2 paths)`: scored tokens, then token and latent nats along each path.

        Its noise is seeded by the example's own tokens: the same in any order, batch or number of processes.
        """
        if "nelbo" not in vars(self._ladd_model()):
            register_fsdp_forward_method(self._ladd_model(), "nelbo")  # sharded weights come together for it, too
        inputs = self._prepare_inputs(inputs)
        tokens, mask, labels = inputs["input_ids"], inputs.get("attention_mask"), inputs.get("labels")
        stored = inputs.get("precomputed_latents")
        columns: list[Tensor] = []
        with self.compute_loss_context_manager():
            for path in self.args.nelbo_paths:
                random = RowGenerator.from_content(self.args.seed, tokens, mask)
                bound = self._ladd_model().nelbo(tokens, mask, path, self.args.nelbo_samples, random, labels, stored)
                columns = columns or [bound.num_tokens.double()]
                columns += [bound.token_nats, bound.latent_nats]
        return None, torch.stack(columns, dim=1), None

    def _bound_metrics(self, predictions: Any, prefix: str) -> dict[str, float]:
        """Nats per token of the whole evaluation set, by path and by part."""
        values = np.asarray(predictions, dtype=np.float64)
        tokens = values[:, 0].sum()
        metrics = {}
        for index, path in enumerate(self.args.nelbo_paths):
            token_nats, latent_nats = values[:, 1 + 2 * index].sum() / tokens, values[:, 2 + 2 * index].sum() / tokens
            metrics[f"{prefix}_{path}_token_nats"] = float(token_nats)
            metrics[f"{prefix}_{path}_latent_nats"] = float(latent_nats)
            metrics[f"{prefix}_{path}_nelbo"] = float(token_nats + latent_nats)
        metrics[f"{prefix}_loss"] = metrics[f"{prefix}_{self.args.nelbo_paths[0]}_nelbo"]
        kind = self._ladd_model().config.latent_type
        if kind == "none" or (kind == "discrete" and time_path(self.args.nelbo_paths[0]).vertices[0] == (1, 1)):
            metrics[f"{prefix}_perplexity"] = float(np.exp(metrics[f"{prefix}_loss"]))
        return metrics

    # --- averaged weights ---

    def _averaged(self) -> Any:
        """The model with its averaged weights; as it is, without EMA or before training."""
        return self.ema.applied() if self.ema is not None else nullcontext()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves the averaged weights. Checkpoints, which training goes on from, get the plain ones and the average."""
        if _internal_call and output_dir is not None:
            super().save_model(output_dir, _internal_call=True)
            if self.ema is not None:
                self.ema.save(output_dir, self.args.should_save)
            return
        self._monitor.check()
        with self._averaged():
            super().save_model(output_dir, _internal_call)

    def save_pipeline(
        self, output_dir: str, scheduler: LaddScheduler | None = None, card: ModelCard | None = None
    ) -> None:
        """Saves a whole pipeline with the averaged weights, to load with `LaddPipeline.from_pretrained`, and its card:
        `card`, or what the run itself tells."""
        self._monitor.check()
        with self._averaged():
            pipeline = LaddPipeline(self._whole_model(), scheduler=scheduler, tokenizer=self._tokenizer())
            if self.args.should_save:
                pipeline.save_pretrained(output_dir)
                (card or self.model_card(repository=str(output_dir))).save(Path(output_dir) / "README.md")

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
        """The card of this run: recipe, last evaluation, and `samples`' scores, if they have been measured.

        Names, data sets and the command are looked up, if not given; `options` are [`~model_card.model_card`]'s.
        """
        repository = repository or self.hub_model_id or str(self.args.output_dir)
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
        given = {"language": language, "license": license, "base_model": finetuned_from, "datasets": dataset_tags}
        names = [dataset] if isinstance(dataset, str) else dataset
        card = self.model_card(
            model_name,
            data=", ".join(names) if names else None,
            tags=[tags] if isinstance(tags, str) else tags or [],
            adapter_of=self._ladd_model().name_or_path or "user/base" if has_adapters(self._ladd_model()) else None,
            metadata={key: value for key, value in given.items() if value is not None},
        )
        card.save(Path(str(self.args.output_dir)) / "README.md")

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """As `Trainer.push_to_hub`: the averaged weights, their code, tokenizer and card."""
        self._finish_current_push()  # it still reads the folder that is written next
        with self._ladd_model().code_included():
            return super().push_to_hub(*args, **kwargs)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        with self._ladd_model().code_included():
            push_checkpoint(self, checkpoint_folder)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        # never overwrite good checkpoints with weights that a bad loss has spoilt, in whichever process
        self._monitor.check(self.accelerator.gather)
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        if not load_adapter_weights(self.model, resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        # here, for DeepSpeed loads the weights without a method of ours
        if self.ema is not None and checkpoint is not None:
            self.ema.load(checkpoint)

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        if best is None or not load_adapter_weights(self.model, best):
            super()._load_best_model()
        if self.ema is not None and best is not None:
            self.ema.load(best)
