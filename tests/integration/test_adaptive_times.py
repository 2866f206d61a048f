"""Runs with adaptive times: their state is that of the whole step, and is kept with checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ladd_hf.training.adaptive_times import TIMES_FILE, AdaptiveTimes

ADAPTIVE = {"adaptive_times": True, "time_distribution": "joint"}
SAVING = {"save_strategy": "steps", "save_steps": 3}


def weights_of(trainer):
    return {name: one.detach().clone() for name, one in trainer.model.named_parameters()}


def test_a_resumed_run_is_the_whole_run(make_trainer):
    whole = make_trainer("continuous", "whole", **ADAPTIVE, **SAVING)
    whole.train()
    folder = Path(whole.args.output_dir, "checkpoint-3")
    assert (folder / TIMES_FILE).is_file()
    moments = whole._times.histogram.moments
    assert float(moments[1].sum()) == pytest.approx(sum(8 * 0.99**age for age in range(6)))
    make_trainer("continuous", "parts", max_steps=6, **ADAPTIVE, **SAVING).train()
    resumed = make_trainer("continuous", "parts", **ADAPTIVE, **SAVING)
    resumed.train(resume_from_checkpoint=str(Path(resumed.args.output_dir, "checkpoint-3")))
    assert torch.equal(resumed._times.histogram.moments, moments)
    for name, one in weights_of(resumed).items():
        assert torch.equal(one, weights_of(whole)[name]), name
    (folder / TIMES_FILE).unlink()
    with pytest.raises(ValueError, match=f"lacks {TIMES_FILE}"):
        make_trainer("continuous", "whole", **ADAPTIVE).train(resume_from_checkpoint=str(folder))


def test_a_steps_times_do_not_depend_on_its_batches(make_trainer):
    one = make_trainer("continuous", "one", **ADAPTIVE)
    two = make_trainer("continuous", "two", per_device_train_batch_size=4, gradient_accumulation_steps=2, **ADAPTIVE)
    for trainer in (one, two):
        trainer.train()
    torch.testing.assert_close(two._times.histogram.moments, one._times.histogram.moments, rtol=1e-3, atol=1e-6)


def test_a_stage_begins_anew_and_a_run_without_has_none(make_trainer, tmp_path):
    stages = [{"name": "joint", "steps": 4}, {"name": "joint"}]
    trainer = make_trainer("continuous", "stages", stages=stages, **ADAPTIVE)
    trainer.train()
    assert float(trainer._times.histogram.moments[1].sum()) == pytest.approx(8 + 8 * 0.99)
    plain = make_trainer("continuous", "plain", **SAVING)
    plain.train()
    assert not plain._times.histogram.moments.any()
    assert not Path(plain.args.output_dir, "checkpoint-3", TIMES_FILE).exists()
    (tmp_path / TIMES_FILE).write_bytes(b"nothing")
    with pytest.raises(ValueError, match=TIMES_FILE):
        AdaptiveTimes.load(tmp_path)
