"""Samples by number: each has a seed of its own, so that it is the same in any batch and any process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..pipelines import LaddPipeline


def seeded_samples(
    pipeline: LaddPipeline,
    num_steps: int,
    seeds: Sequence[int],
    batch_size: int,
    skip_idle_rows: bool = True,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Draws one sample for each seed, with the pipeline's default lengths.

    Args:
        pipeline: generates the samples.
        num_steps: number of denoiser evaluations of a sample.
        seeds: one for each sample, at least one.
        batch_size: samples drawn at once, on which they do not depend.
        skip_idle_rows: as in a call of the pipeline. Without it the number of evaluations does not depend on the seeds,
            as processes need that share sharded weights.
        options: further arguments of the pipeline's call, such as `temperature`.

    Returns the ids `(N, S)`, padded to the longest sample, and the number of tokens of each `(N,)`, on the CPU.
    """
    batches, lengths = [], []
    for start in range(0, len(seeds), batch_size):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[start : start + batch_size]]
        sequences, _, _, ends = pipeline(
            num_steps=num_steps,
            batch_size=len(generators),
            generator=generators,
            output_type="seq",
            return_dict=False,
            skip_idle_rows=skip_idle_rows,
            **options,
        )
        batches.append(sequences.cpu())
        lengths.append(ends.cpu())
    return joined(batches, pipeline.model.config.pad_token_id), torch.cat(lengths)


def joined(batches: list[Tensor], pad_token_id: int | None) -> Tensor:
    """Returns all rows, `(N, S)`; shorter batches are padded."""
    longest = max(batch.shape[1] for batch in batches)
    filler = 0 if pad_token_id is None else pad_token_id  # without one all rows have the same length
    return torch.cat([pad(batch, (0, longest - batch.shape[1]), value=filler) for batch in batches])
