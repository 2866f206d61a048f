"""Options of transformers' Trainer that need a test of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.training import logged, texts
from transformers import EarlyStoppingCallback


def test_a_run_by_epochs_has_as_many_steps(make_trainer):
    trainer = make_trainer("none", data=texts(24), max_steps=-1, num_train_epochs=2)
    trainer.train()
    assert trainer.state.global_step == 6 and trainer.state.epoch == 2


def test_without_logs_a_run_learns_the_same(make_trainer):
    silent, plain = make_trainer("none", "silent", logging_strategy="no"), make_trainer("none", "plain")
    silent.train()
    plain.train()
    assert logged(silent) == []
    assert all(torch.equal(a, b) for a, b in zip(silent.model.parameters(), plain.model.parameters(), strict=True))


@pytest.mark.parametrize(("flag", "dtype"), [("bf16_full_eval", torch.bfloat16), ("fp16_full_eval", torch.float16)])
@pytest.mark.parametrize("kind", ["continuous", "vector"])
def test_evaluation_in_half_precision_leaves_the_weights_as_they_are(kind, flag, dtype, make_trainer, stirred_model):
    seen = []
    model = stirred_model(kind)
    trainer = make_trainer(model, eval_data=texts(6, seed=1), **{flag: True})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    nelbo = model.nelbo
    model.nelbo = lambda *args: (seen.append(model.dtype), nelbo(*args))[1]
    half = trainer.evaluate()["eval_loss"]
    assert seen == [dtype]
    after = model.state_dict()
    assert all(
        after[name].dtype == tensor.dtype and torch.equal(after[name], tensor) for name, tensor in before.items()
    )
    exact = make_trainer(model, "exact", eval_data=texts(6, seed=1)).evaluate()["eval_loss"]
    assert half != exact and half == pytest.approx(exact, rel=0.02)
    assert getattr(trainer.args, flag)
    trainer.train()  # after an evaluation
    trainer.evaluate()
    trainer.train()


def test_a_second_run_of_a_trainer_draws_the_noise_of_the_first(make_trainer):
    trainer = make_trainer("discrete", max_steps=1, learning_rate=0.0)
    losses = []
    for _ in range(2):
        trainer.train()
        losses.append(logged(trainer))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", ["eval_do_concat_batches", "prediction_loss_only"])
def test_predictions_are_the_bounds_of_the_texts_whatever_is_asked_of_the_loop(name, make_trainer):
    data = texts(7, seed=1)
    plain = make_trainer("discrete").predict(data)
    other = make_trainer("discrete", "other", per_device_eval_batch_size=2, **{name: name == "prediction_loss_only"})
    assert plain.predictions.shape == (7, 3) and np.allclose(plain.predictions[:, 0], 12)
    assert plain.metrics["test_loss"] == pytest.approx(plain.predictions[:, 1:].sum() / 84)
    predicted = other.predict(data)
    assert predicted.metrics["test_loss"] == pytest.approx(plain.metrics["test_loss"], rel=1e-6)
    if name == "prediction_loss_only":
        assert predicted.predictions is None
    else:
        np.testing.assert_allclose(predicted.predictions, plain.predictions, rtol=1e-5)


@pytest.mark.parametrize("metric", ["loss", "joint_nelbo", "eval_joint_token_nats", "perplexity"])
def test_metrics_of_the_bound_are_better_where_lower(metric, make_trainer):
    assert make_trainer("none", metric_for_best_model=metric).args.greater_is_better is False
    assert make_trainer("none", metric_for_best_model=metric, greater_is_better=True).args.greater_is_better is True
    assert make_trainer("none", metric_for_best_model="mauve").args.greater_is_better is True


@pytest.mark.parametrize("metric", ["loss", "joint_nelbo", "perplexity"])
def test_the_best_weights_are_those_of_the_lowest_bound(metric, make_trainer):
    data = texts(1) * 32
    trainer = make_trainer(
        "none",
        data=data,
        eval_data=data[:4],
        max_steps=8,
        learning_rate=3e-2,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr": 1e-3},
        warmup_steps=2,
        ema_decay=0.0,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=metric,
        callbacks=[EarlyStoppingCallback(10)],
    )
    trainer.train()
    bounds = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(bounds) == 4 and len(set(bounds)) == 4
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(bounds), rel=1e-6)
    assert len(list(Path(trainer.args.output_dir).glob("checkpoint-*"))) <= 3


def test_a_compiled_model_trains_as_it_does_uncompiled(make_trainer):
    plain = make_trainer("none", "plain", eval_data=texts(4), max_steps=6)
    compiled = make_trainer(
        "none", "compiled", eval_data=texts(4), max_steps=6, torch_compile=True, torch_compile_backend="eager"
    )
    for trainer in (plain, compiled):
        trainer.train()
    assert logged(compiled) == pytest.approx(logged(plain), rel=1e-5)
    assert compiled.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], rel=1e-5)


def test_a_batch_size_that_was_found_is_as_one_that_was_given(make_trainer, tiny_model):
    class Small(type(tiny_model("discrete"))):
        def forward(self, input_ids=None, **kwargs):
            if input_ids is not None and kwargs.get("loss_only") and len(input_ids) > 4:
                raise RuntimeError("CUDA out of memory.")
            return super().forward(input_ids, **kwargs)

    torch.manual_seed(0)
    found = make_trainer(
        Small(tiny_model("discrete").config),
        "found",
        per_device_train_batch_size=5,
        auto_find_batch_size=True,
        learning_rate=0.0,
    )
    torch.manual_seed(0)
    given = make_trainer(
        Small(tiny_model("discrete").config), "given", per_device_train_batch_size=4, learning_rate=0.0
    )
    for trainer in (found, given):
        trainer.train()
    assert found._train_batch_size == 4
    assert logged(found) == logged(given)


def test_the_checkpoint_of_the_arguments_is_resumed(make_trainer):
    whole = make_trainer("none", "whole", save_strategy="steps", save_steps=3)
    whole.train()
    resumed = make_trainer("none", "resumed", resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-3")
    resumed.train()
    assert len(logged(resumed)) == 6 and logged(resumed) == logged(whole)


# --- checkpointing ---


@pytest.mark.parametrize("kind", ["none", "continuous", "separate", "discrete", "pretrained"])
def test_reentrant_checkpointing_trains_the_same_adapters(kind, make_trainer, stirred_model, encoder_model):
    from peft import LoraConfig

    gradients = []
    for checkpointing in (None, {"use_reentrant": False}, {"use_reentrant": True}):
        model = encoder_model(encoder_trained=True) if kind == "pretrained" else stirred_model(kind)
        torch.manual_seed(1)
        model.add_adapter(LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
        options = {"activation_checkpointing": bool(checkpointing), "activation_checkpointing_kwargs": checkpointing}
        trainer = make_trainer(model, f"{checkpointing}", max_steps=1, max_grad_norm=0.0, **options)
        kept = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.register_hook(lambda gradient, name=name, kept=kept: kept.__setitem__(name, gradient.clone()))
        trainer.train()
        gradients.append(kept)
    expected, *others = gradients
    assert any("encoder" in name for name in expected) or kind == "none"
    for kept in others:
        assert kept.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(kept[name], gradient, atol=1e-6, rtol=1e-5, msg=name)
