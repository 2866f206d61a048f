"""Sample quality against the number of denoiser evaluations (NFE): the trade-off that latents are meant to improve."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..pipelines import LaddPipeline

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
        batches = []
        for start in range(0, num_samples, batch_size):
            rows = range(start, min(start + batch_size, num_samples))
            generators = [torch.Generator().manual_seed(seed * num_samples + row) for row in rows]
            sequences, *_ = pipeline(
                num_steps=budget,
                batch_size=len(generators),
                generator=generators,
                output_type="seq",
                return_dict=False,
                skip_idle_rows=True,
            )
            batches.append(sequences.cpu())
        scores[budget] = score(_joined(batches, pipeline.model.config.pad_token_id))
    return scores


def _joined(batches: list[Tensor], pad_token_id: int | None) -> Tensor:
    """Returns all rows, `(N, S)`; shorter batches are padded."""
    longest = max(batch.shape[1] for batch in batches)
    filler = 0 if pad_token_id is None else pad_token_id  # without one all rows have the same length
    return torch.cat([pad(batch, (0, longest - batch.shape[1]), value=filler) for batch in batches])


def gap_closed(baseline: float, score: float, floor: float) -> float:
    """Returns the share of the distance from a baseline to a floor that is closed: 0 at the baseline, 1 at the
    floor."""
    return (baseline - score) / (baseline - floor)
