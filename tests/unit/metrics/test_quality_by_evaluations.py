"""Quality against evaluations: the same samples however they are batched, and the share of a gap."""

from __future__ import annotations

import pytest
import torch

from ladd_hf import LaddPipeline, LaddSequentialScheduler
from ladd_hf.metrics import gap_closed, quality_by_evaluations


@pytest.fixture
def pipeline(tiny_model):
    pipeline = LaddPipeline(tiny_model("discrete"), scheduler=LaddSequentialScheduler())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_scores_do_not_depend_on_the_batch_size(pipeline):
    def number(samples: torch.Tensor) -> float:
        return float((samples * torch.arange(samples.numel()).view_as(samples)).sum())

    whole = quality_by_evaluations(pipeline, [2, 5], number, num_samples=7, batch_size=7)
    parts = quality_by_evaluations(pipeline, [2, 5], number, num_samples=7, batch_size=3)
    assert whole == parts


def test_budgets_too_small_for_the_path_are_left_out(pipeline):
    scores = quality_by_evaluations(pipeline, [1, 2, 3], lambda samples: float(len(samples)), num_samples=4)
    assert scores == {2: 4.0, 3: 4.0}


def test_the_gap_is_closed_at_the_floor_and_open_at_the_baseline():
    assert gap_closed(0.7, 0.5, 0.5) == 1
    assert gap_closed(0.7, 0.7, 0.5) == 0
    assert gap_closed(0.7, 0.8, 0.5) < 0
