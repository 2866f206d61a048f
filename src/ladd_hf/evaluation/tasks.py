"""The task of an evaluation: a corpus as a trained pipeline reads it, and its judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data import load_corpus
from ..data.corpora import separator_of
from ..models.configuration_ladd import LaddConfig
from ..models.text_frame import TextFrame
from ..pipelines import LaddPipeline
from ..tasks import SawtoothTask, Task, TextTask
from ..tasks.judges import JudgeSpec
from ..tasks.text import DEFAULT_JUDGES


def task_for(
    pipeline: LaddPipeline,
    data: str,
    judges: Sequence[JudgeSpec] | None = None,
    min_tokens: int | None = None,
    **options: Any,
) -> Task:
    """Returns the data of a corpus in the blocks that a pipeline's model was trained on, and judges of its samples.

    Args:
        pipeline: with its model and tokenizer.
        data: `sawtooth`, a corpus by name, or files; with training texts, which judges read.
        judges: names or mappings, see `tasks/judges.py`; those of the task by default. The sawtooth's stand beside its
            exact likelihood.
        min_tokens: of padded texts; by default as many as the model has latents.
        options: of [`load_corpus`], such as `text_column`; the sawtooth reads none.

    Raises `ValueError` for a pipeline without a tokenizer, where the data are texts, and for the sawtooth with a model
    of another vocabulary.
    """
    config = pipeline.model.config
    length = config.max_position_embeddings
    if data == "sawtooth":
        task = SawtoothTask(length, judges or ())
        if config.vocab_size != task.vocabulary["vocab_size"]:
            raise ValueError(
                f"The model has {config.vocab_size} tokens, and the sawtooth {task.vocabulary['vocab_size']} with its "
                "mask: give a model that was trained on it, or other data."
            )
        return task
    if pipeline.tokenizer is None:
        raise ValueError(f"The pipeline has no tokenizer, which the texts of {data!r} need: give it one.")
    frame = TextFrame.of(config)
    return TextTask(
        Path(data).resolve().name if Path(data).exists() else data,  # results must not show where files are
        load_corpus(data, **options),
        pipeline.tokenizer,
        length,
        packing=frame.packing,
        separator=separator_of(data),
        fill="padding" if frame.fill is None else "eos",
        min_tokens=least_tokens(config) if min_tokens is None else min_tokens,
        judges=DEFAULT_JUDGES if judges is None else list(judges),
    )


def least_tokens(config: LaddConfig) -> int:
    """Returns the number of tokens that a text of a model has at least: one for each latent."""
    return 1 if config.latent_type == "none" else config.latent_length
