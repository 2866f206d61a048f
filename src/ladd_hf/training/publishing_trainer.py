"""[`PublishingTrainer`]: saves pipelines, writes cards and pushes a trainer's model to the Hub."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

from huggingface_hub import ModelCard
from torch import nn
from transformers.utils import logging

from ..models.adapters import has_adapters
from ..models.fsdp import is_sharded
from ..models.modeling_ladd import LaddForDiffusionLM
from ..pipelines import LaddPipeline
from ..schedulers import LaddScheduler
from ..utils.local_paths import public_model_name, public_name
from .cost_files import save_cost
from .hub import check_samples, held_out_bounds, push_checkpoint, training_recipe, untrained_prior
from .model_card import SampleScores, model_card
from .recorded_trainer import RecordedTrainer

logger = logging.get_logger(__name__)


class PublishingTrainer(RecordedTrainer):
    """Publishes the averaged weights, with a card that describes the run."""

    def save_pipeline(
        self, output_dir: str, scheduler: LaddScheduler | None = None, card: ModelCard | None = None
    ) -> None:
        """Saves a complete pipeline with the averaged weights, to load with `LaddPipeline.from_pretrained`, what their
        training cost, and its card: `card`, or the run's own. Warns, as does the card, if the prior over the latents is
        untrained, as after a run that was stopped in stage 1."""
        self._monitor.check()
        if self.args.should_save and (caution := untrained_prior(self)) is not None:
            logger.warning(caution)
        with self._averaged():
            pipeline = LaddPipeline(self._whole_model(), scheduler=scheduler, tokenizer=self._tokenizer())
            if self.args.should_save:
                pipeline.save_pretrained(output_dir)
                save_cost(self._record, output_dir)
                (card or self.model_card(repository=Path(output_dir).resolve().name)).save(
                    Path(output_dir) / "README.md"
                )

    def _whole_model(self) -> LaddForDiffusionLM:
        """Returns the model; if its weights are sharded, a copy that is complete in the process that saves."""
        model = self._ladd_model()
        if not is_sharded(model):
            return model
        if has_adapters(model):
            raise ValueError(
                "The model with adapters is sharded, so they cannot be merged here: `save_model` saves the adapter; "
                "load it in one process and save its pipeline there."
            )
        weights = self.accelerator.get_state_dict(self.model)
        if not self.args.should_save:
            return model
        copied: nn.Module = LaddForDiffusionLM(copy.deepcopy(model.config))
        copied.to(model.dtype).load_state_dict(weights)
        return cast(LaddForDiffusionLM, copied)

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
        """Returns the card of the current weights: their training, the last results on each data set, and the scores of
        `samples`, if given.

        Names, data sets and the command are found automatically by default; `eval_data` is the name of the trainer's
        own evaluation data set, or of its dict of them. `options` are those of [`~model_card.model_card`]. Raises
        `ValueError` for samples that are known to be of other weights.
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
        """Writes the run's card to the output folder; the arguments go into its metadata. `tasks` is always this
        library's."""
        if not self.is_world_process_zero():
            return
        base = public_name(finetuned_from) if finetuned_from else None
        given = {"language": language, "license": license, "base_model": base, "datasets": dataset_tags}
        names = [dataset] if isinstance(dataset, str) else dataset
        card = self.model_card(
            model_name,
            data=", ".join(names) if names else None,
            tags=[tags] if isinstance(tags, str) else tags or [],
            adapter_of=self._base_of_adapter(),
            metadata={key: value for key, value in given.items() if value is not None},
        )
        card.save(Path(str(self.args.output_dir)) / "README.md")

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Extends [`RecordedTrainer.save_model`]: an adapter is saved with the card of its run."""
        super().save_model(output_dir, _internal_call)
        if self.args.should_save and not _internal_call and (base := self._base_of_adapter()) is not None:
            folder = Path(str(output_dir or self.args.output_dir)).resolve()
            self.model_card(repository=folder.name, adapter_of=base).save(folder / "README.md")

    def _base_of_adapter(self) -> str | None:
        """Returns the public name of the model that is adapted; `None` without an adapter."""
        model = self._ladd_model()
        return public_model_name(model.name_or_path or "user/base") if has_adapters(model) else None

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """Extends `Trainer.push_to_hub`: the averaged weights, their code, tokenizer and card."""
        self._finish_current_push()  # which still reads the folder that is written next
        with self._ladd_model().code_included():
            return super().push_to_hub(*args, **kwargs)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if self._saved_aside is not None:  # not before it is renamed
            return
        with self._ladd_model().code_included():
            push_checkpoint(self, checkpoint_folder)
