"""Measures of an evaluation's model itself, on the texts of its bounds in continuous time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..data.collator import LaddCollator
from ..metrics.model_measures import ModelMeasure, measured, model_measures
from ..pipelines import LaddPipeline
from ..tasks import Task
from .held_out import model_texts
from .results import EvaluationResults
from .settings import EvaluationSettings


def measure_model(
    pipeline: LaddPipeline,
    task: Task,
    settings: EvaluationSettings,
    results: EvaluationResults,
    accelerator: Accelerator,
    tell: Callable[[str], None],
) -> None:
    """Adds the scores of each of `settings.measures` to the results, unless they are there by the same definition.

    What a model lacks something for is left out, which the results say. The first process measures, while the others
    wait; every process has to call it.
    """
    for measure in model_measures(settings.measures):
        lacking = measure.lacking(pipeline.model.config)
        if lacking is not None:
            results.measures[measure.name] = {"about": measure.about, "lacking": lacking}
            tell(f"{measure.name} is left out: the model has no {lacking}.")
        elif not _is_known(measure, results):
            found: list[Any] = [None]
            if accelerator.is_main_process:
                batches = list(_batches(pipeline, task, settings))
                texts = sum(len(batch["input_ids"]) for batch in batches)
                found = [{"texts": texts, **measured(measure, measure.scores(pipeline.model, batches))}]
            (results.measures[measure.name],) = broadcast_object_list(found)
            scores = results.measures[measure.name]["scores"].items()
            tell(f"{measure.name}: {', '.join(f'{k} {one:.4f}' for k, one in scores if not k.endswith('_stderr'))}")
    results.save()


def _is_known(measure: ModelMeasure, results: EvaluationResults) -> bool:
    known = results.measures.get(measure.name, {})
    names = [one["name"] for one in known.get("numbers", ())]
    return known.get("about") == measure.about and names == [one.name for one in measure.numbers]


def _batches(pipeline: LaddPipeline, task: Task, settings: EvaluationSettings) -> Iterator[dict[str, Any]]:
    texts = model_texts(task, settings)
    collate, size = LaddCollator(getattr(pipeline.model.config, "pad_token_id", None)), settings.batch_size
    for start in range(0, len(texts), size):
        yield collate([dict(row) for row in texts[start : start + size]])
