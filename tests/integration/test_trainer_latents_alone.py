"""Trainings of latents that are predicted without tokens while all of these are masked, or always."""

from __future__ import annotations

import math

import pytest
from helpers.training import texts


def test_what_never_trains_latents_alone_is_refused(make_trainer):
    with pytest.raises(ValueError, match=r"`skips_masked_tokens`, but no stage trains .* `fully_masked_share`"):
        make_trainer("alone", time_distribution="joint").train()


@pytest.mark.parametrize("kind", ["alone", "separate_codes"])
def test_a_training_measures_the_bound_of_what_it_trained(kind, make_trainer):
    trainer = make_trainer(kind, time_distribution="sequential", nelbo_paths=["sequential"], eval_data=texts(4))
    trainer.train()
    assert math.isfinite(trainer.evaluate()["eval_sequential_nelbo"])
