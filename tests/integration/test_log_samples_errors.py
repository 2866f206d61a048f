"""Settings of `LogSamples` that cannot work are refused in a sentence."""

from __future__ import annotations

import re

import pytest
import torch
from helpers.training import texts

from ladd_hf import LaddJointScheduler, LaddSequentialScheduler, LogSamples


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budgets": []}, "`budgets` is empty; give numbers of denoiser evaluations"),
        ({"budgets": 2}, "`budgets` is 2; give whole numbers"),
        ({"budgets": [2, 0]}, "`budgets` holds 0; give whole numbers"),
        ({"budgets": [2.5]}, "`budgets` holds 2.5; give whole numbers"),
        ({"budgets": [2, 2]}, "`budgets` is [2, 2], with a number twice"),
        ({"num_samples": 0}, "`num_samples` is 0; give a whole number of at least 1"),
        ({"show": -1}, "`show` is -1; give a whole number of at least 0"),
        ({"every": 0}, "`every` is 0; give a whole number of at least 1"),
        ({"score": 3}, "`score` is 3; give a callable"),
        ({"schedulers": "joint"}, "`schedulers` is 'joint'; give a scheduler"),
        ({"schedulers": {}}, "`schedulers` is a dict; give a scheduler"),
        ({"schedulers": {"": LaddJointScheduler()}}, "`schedulers` is a dict; give a scheduler"),
    ],
)
def test_wrong_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        LogSamples(**options)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "watch", "options", "message"),
    [
        (
            "discrete",
            {"budgets": [1], "schedulers": LaddSequentialScheduler()},
            {},
            "samples with 1 evaluations: `num_",
        ),
        (
            "separate",
            {"schedulers": {"a": LaddJointScheduler()}},
            {},
            "The scheduler of 'a' of LogSamples moves tokens",
        ),
        ("none", {"every": 2}, {"metric_for_best_model": "eval_samples_2_entropy"}, "`every` of LogSamples is 2"),
        ("none", {}, {"sample_budgets": [0]}, "`sample_budgets` holds 0; give whole numbers"),
        ("none", {}, {"sample_budgets": 3}, "`sample_budgets` is 3; give whole numbers"),
        ("none", {}, {"samples_per_budget": 0}, "`samples_per_budget` is 0; give a whole number"),
    ],
)
def test_what_does_not_fit_the_model_or_the_arguments_is_refused(kind, watch, options, message, make_trainer):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_trainer(kind, callbacks=[LogSamples(**watch)], **options)


def test_a_model_without_latents_has_paths_of_one_leg(make_trainer):
    watch = LogSamples([1], 2, LaddSequentialScheduler())
    assert "eval_samples_1_entropy" in make_trainer("none", eval_data=texts(2), callbacks=[watch]).evaluate()


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (3.0, "`score` of LogSamples returned 3.0; give a callable that returns numbers by name"),
        ({"nats": "low"}, "`score` of LogSamples returned 'low' as 'nats'"),
        ({1: 2.0}, "`score` of LogSamples returned a dict"),
    ],
)
def test_scores_that_are_not_numbers_by_name_are_refused(found, message, make_trainer):
    trainer = make_trainer("none", eval_data=texts(2), callbacks=[LogSamples([2], 2, score=lambda ids: found)])
    with pytest.raises(ValueError, match=re.escape(message)):
        trainer.evaluate()
    assert trainer.predict(texts(2)).metrics["test_loss"] > 0


def test_two_of_them_and_another_trainer_are_refused(make_trainer, tmp_path):
    from transformers import Trainer, TrainingArguments

    with pytest.raises(ValueError, match="`callbacks` holds 2 LogSamples"):
        make_trainer("none", callbacks=[LogSamples([2]), LogSamples([3])])
    args, data = TrainingArguments(str(tmp_path), use_cpu=True), [{"x": 1}]
    other = Trainer(torch.nn.Linear(1, 1), args, train_dataset=data, callbacks=[LogSamples()])
    with pytest.raises(ValueError, match="LogSamples draws samples in a LaddTrainer only"):
        other.train()
