"""Sample quality against the number of denoiser evaluations (NFE): the trade-off that latents are meant to improve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor

from ..pipelines import LaddPipeline
from .seeded_samples import seeded_samples

Score = TypeVar("Score")


def quality_by_evaluations(
    pipeline: LaddPipeline,
    budgets: Sequence[int],
    score: Callable[[Tensor], Score],
    num_samples: int = 2000,
    batch_size: int = 2000,
    seed: int = 0,
) -> dict[int, Score]:
    """Scores `num_samples` samples at each number of evaluations that the scheduler supports.

    The samples have the pipeline's default lengths: if training texts were padded, drawn from their lengths; if they
    were filled up with end-of-sequence tokens, they end with one.

    Args:
        pipeline: generates the samples.
        budgets: numbers of evaluations; those too small for the scheduler's path are left out.
        score: maps `(num_samples, S)` ids to a score, such as their nats per token under a judge; shorter samples are
            padded to the longest.
        num_samples, batch_size: samples per budget, and per batch, on which the samples do not depend.
        seed: each sample has its own generator, seeded by this and its number.
    """
    scores = {}
    for budget in budgets:
        if budget < len(pipeline.scheduler.path.legs) and pipeline.model.config.latent_type != "none":
            continue
        seeds = range(seed * num_samples, (seed + 1) * num_samples)
        sequences, _ = seeded_samples(pipeline, budget, seeds, batch_size)
        scores[budget] = score(sequences)
    return scores


def gap_closed(baseline: float, score: float, floor: float) -> float:
    """Returns the share of the distance from a baseline to a floor that is closed: 0 at the baseline, 1 at the
    floor."""
    return (baseline - score) / (baseline - floor)
