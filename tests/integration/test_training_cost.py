"""A run's cost is counted as it runs: what its layers do, forward and backward, stage by stage; counting changes
nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from helpers.training import Interfere, assert_same, state_of, texts, two_stages
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ladd_hf.metrics.cost import ATTENTION_ON_A_CPU
from ladd_hf.training import training_cost
from ladd_hf.training.cost_files import load_cost


def spoil(step, model):
    if step > 3:
        with torch.no_grad():
            model.token_head.proj.weight.normal_(std=5.0)


def test_a_step_costs_three_forward_passes_and_half_an_attention(make_trainer):
    """A linear map runs once forward and twice backward; an attention's backward pass is 2.5 times its forward one,
    for it computes its weights anew. (adaptive normalisation sees one vector per text, and is a linear map, too)"""
    trainer = make_trainer("none", fully_masked_share=1.0)
    config, model = trainer.model.config, trainer.model
    trainer.train()
    rows, length, size = 8, 12, config.hidden_size
    times = {name for name, one in model.named_modules() if isinstance(one, nn.Linear) and "modulation" in name}
    linear = 0
    for name, one in model.named_modules():
        if isinstance(one, nn.Linear):
            linear += 2 * one.in_features * one.out_features * (rows if name in times else rows * length)
    attention = config.num_hidden_layers * 4 * rows * length**2 * size
    expected = trainer.state.max_steps * (3 * linear + 3.5 * attention)
    assert trainer.training_flops == pytest.approx(expected, rel=0.02)
    assert trainer.state.total_flos == trainer.training_flops


@pytest.mark.parametrize("kind", ["none", "discrete", "continuous"])
def test_counting_changes_nothing_and_agrees_with_torchs_counter(kind, make_trainer, monkeypatch):
    counted, plain, theirs = (make_trainer(kind, name) for name in ("counted", "plain", "theirs"))
    counted.train()
    monkeypatch.setattr(training_cost.TrainingCost, "of", lambda *_: 0.0)
    monkeypatch.setattr(training_cost, "_COUNTED", 0)
    plain.train()
    assert_same(state_of(counted), state_of(plain))
    with FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_A_CPU) as counter:  # its hooks round otherwise
        theirs.train()
    assert counted.training_flops == pytest.approx(counter.get_total_flops(), rel=0.02)  # four steps stand for two
    assert plain.training_flops == 0


def test_a_fixed_encoder_is_not_paid_for_backward(make_trainer):
    trainer = make_trainer("discrete", stages=two_stages(6), max_steps=12)
    trainer.train()
    trained, fixed = ([flops for _, flops in counted] for counted in trainer._cost._counted.values())
    assert max(fixed) < min(trained)
    means = (sum(trained) + sum(fixed)) / training_cost._COUNTED
    assert trainer.training_flops == pytest.approx(6 * means)


def test_a_resumed_runs_cost_is_the_whole_runs(make_trainer):
    whole = make_trainer("discrete", "whole")
    whole.train()
    part = make_trainer("discrete", "parts", max_steps=6, save_strategy="steps", save_steps=3)
    part.train()
    resumed = make_trainer("discrete", "parts", save_strategy="steps", save_steps=3)
    resumed.train(resume_from_checkpoint=str(Path(resumed.args.output_dir, "checkpoint-3")))
    assert resumed.training_flops == pytest.approx(whole.training_flops, rel=0.02)
    assert resumed.state.total_flos == pytest.approx(resumed.training_flops, rel=1e-6)
    assert resumed.training_seconds > 0


def test_the_best_weights_cost_what_their_steps_did(make_trainer):
    """Also if steps of later stages cost otherwise."""
    options = {"stages": two_stages(3), "save_strategy": "steps", "save_steps": 3, "eval_strategy": "steps"}
    options |= {"eval_steps": 3, "eval_data": texts(4), "load_best_model_at_end": True}
    trainer = make_trainer("discrete", max_steps=6, callbacks=[Interfere(spoil)], **options)
    trainer.train()
    assert trainer.trained_steps == 3
    first = next(iter(trainer._cost._counted.values()))
    assert trainer.training_flops == pytest.approx(sum(flops for _, flops in first), rel=1e-9)


def test_accumulated_batches_add_up(make_trainer):
    one = make_trainer("none", "one")
    two = make_trainer("none", "two", per_device_train_batch_size=4, gradient_accumulation_steps=2)
    for trainer in (one, two):
        trainer.train()
    assert two.training_flops == pytest.approx(one.training_flops, rel=0.02)


def test_the_card_tells_it(make_trainer):
    trainer = make_trainer("none")
    assert "training cost" not in trainer.model_card().text, "before training"
    trainer.train()
    (cost,) = re.findall(r"\| training cost \| (.*) floating-point operations, .* s \|", trainer.model_card().text)
    assert float(cost) == pytest.approx(trainer.training_flops, rel=0.01)


def test_a_compiled_model_is_compiled_after_the_counted_steps(make_trainer):
    torch._dynamo.reset()
    trainer = make_trainer("none", torch_compile=True, torch_compile_backend="eager")
    trainer.train()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert trainer.training_flops > 0


def test_what_is_saved_says_what_its_training_cost(make_trainer, tmp_path):
    trainer = make_trainer("discrete", stages=two_stages(6), max_steps=12)
    trainer.save_pipeline(str(tmp_path / "untrained"))
    assert load_cost(tmp_path / "untrained") == {}
    trainer.train()
    trainer.save_pipeline(str(tmp_path / "pipeline"))
    trainer.save_model(str(tmp_path / "model"))
    found = load_cost(tmp_path / "pipeline")
    assert found == load_cost(tmp_path / "model") == trainer.training_cost
    assert (found["flops"], found["seconds"]) == (trainer.training_flops, trainer.training_seconds)
    assert [one["steps"] for one in found["stages"]] == [6, 6] and found["uncounted_steps"] == 0
