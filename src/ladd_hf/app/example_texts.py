"""Texts with which the panels begin."""

from __future__ import annotations

import torch

from ..diffusion.rng import RowGenerator
from ..models.chunks import least_length
from ..pipelines.pipeline_ladd import LaddPipeline
from .reading import ids_of, written

_TEXTS = (
    "return the value of the first argument if it is not a number or",
    "this module opens files and writes a list of names to the folder",
)


def example_texts(pipeline: LaddPipeline) -> tuple[str, str]:
    """Returns two texts that a model can read: English ones, or, if it cannot encode these, two of its own."""
    if pipeline.tokenizer is not None and all(_readable(pipeline, text) for text in _TEXTS):
        return _TEXTS
    generator = RowGenerator.from_seed(0, torch.arange(2, device=pipeline.device))
    first, second = written(pipeline(num_steps=8, batch_size=2, generator=generator))
    return first, second


def _readable(pipeline: LaddPipeline, text: str) -> bool:
    ids = ids_of(pipeline, text)
    unknown = getattr(pipeline.tokenizer, "unk_token_id", None)
    if unknown in ids or pipeline.model.config.pad_token_id in ids:
        return False
    if len(ids) > pipeline.model.config.max_position_embeddings:
        return False
    return len(ids) >= least_length(pipeline.model.config)
