"""Training that is watched logs one-step accuracy, and is the training that it was."""

from __future__ import annotations

import torch
from helpers.training import logged, texts

from ladd_hf.metrics import OneStepDecoding


def test_a_training_run_logs_it(make_trainer):
    trainer = make_trainer("discrete", max_steps=2, callbacks=[OneStepDecoding(torch.randint(1, 10, (5, 12)))])
    trainer.train()
    for name in ("true", "shuffled", "none"):
        assert len(logged(trainer, f"decoded_{name}")) == 2


def test_training_does_not_hang_on_whether_it_is_watched(make_trainer):
    tokens = torch.stack([row["input_ids"] for row in texts(8)])
    plain = make_trainer("vector", "plain", max_steps=3)
    watched = make_trainer("vector", "watched", max_steps=3, callbacks=[OneStepDecoding(tokens)])
    for trainer in (plain, watched):
        torch.manual_seed(0)
        trainer.train()
    assert logged(plain) == logged(watched)
