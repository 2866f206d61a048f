"""A run stops and goes on to the bit, loses nothing, and spoils nothing."""

from __future__ import annotations

import math
import shutil

import pytest
import torch
from helpers.training import RICH, Interfere, assert_same, logged, one_stage, state_of, two_stages
from safetensors.torch import load_file

from ladd_hf import LaddTrainer
from ladd_hf.training.loss_monitor import NonFiniteLossError

# --- stopping and going on ---


def train_and_resume(make_trainer, kind, **options):
    """State and losses of a run of six steps, and of its second half after a resume in a fresh model."""
    whole = make_trainer(kind, "whole", save_strategy="steps", save_steps=3, **options)
    whole.train()
    checkpoint = f"{whole.args.output_dir}/checkpoint-3"
    resumed = make_trainer(kind, "resumed", **options)
    with torch.no_grad():
        for weight in resumed.model.parameters():
            weight.add_(1.0)
    torch.rand(7)
    resumed.train(resume_from_checkpoint=checkpoint)
    return whole, resumed


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("none", {}),
        ("continuous", RICH | {"stages": one_stage(5)}),
        ("discrete", {"stages": two_stages(2)}),
        ("discrete", {"stages": two_stages(3)}),
        ("vector", {"stages": two_stages(4)}),
        ("gumbel", {"gradient_accumulation_steps": 2}),
    ],
    ids=["none", "one stage", "in stage 2", "at the boundary", "before the boundary", "accumulating"],
)
def test_a_resumed_run_ends_where_the_whole_run_ends_to_the_bit(kind, options, make_trainer):
    whole, resumed = train_and_resume(make_trainer, kind, **options)
    assert_same(state_of(whole), state_of(resumed))
    assert logged(whole) == logged(resumed) and len(logged(whole)) == 6
    assert whole.ema.average.optimization_step == resumed.ema.average.optimization_step == 6


def test_the_average_goes_on_where_an_engine_of_its_own_loads_the_weights(make_trainer, monkeypatch):
    def load(trainer, checkpoint, model=None):  # as DeepSpeed does, past the trainer's own method
        trainer.model.load_state_dict(load_file(f"{checkpoint}/model.safetensors"))

    monkeypatch.setattr(LaddTrainer, "_load_from_checkpoint", load)
    whole, resumed = train_and_resume(make_trainer, "discrete")
    assert_same(state_of(whole), state_of(resumed))


def test_the_order_of_the_data_is_the_runs_and_not_torchs(make_trainer):
    losses = []
    for seed in (1, 2):
        trainer = make_trainer("none", f"{seed}", max_steps=3)
        torch.manual_seed(seed)  # by whoever else runs in the process
        trainer.train()
        losses.append(logged(trainer))
    assert losses[0] == losses[1]


def test_a_checkpoint_can_be_moved_and_renamed(make_trainer, tmp_path):
    whole = make_trainer("none", "whole", save_strategy="steps", save_steps=3)
    whole.train()
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", tmp_path / "the best one")
    resumed = make_trainer("none", "resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "the best one"))
    assert_same(state_of(whole), state_of(resumed))


def test_an_output_folder_with_a_run_in_it_is_refused_unless_the_run_is_to_go_on(make_trainer):
    options = {"save_strategy": "steps", "save_steps": 2}
    whole = make_trainer("discrete", "whole", max_steps=4)
    whole.train()
    make_trainer("discrete", max_steps=2, **options).train()
    with pytest.raises(
        ValueError, match=r"already holds a run \(up to checkpoint-2\): choose another folder, or go on"
    ):
        make_trainer("discrete", max_steps=4, **options).train()
    resumed = make_trainer("discrete", max_steps=4, resume_if_exists=True, **options)
    resumed.train()
    assert resumed.state.global_step == 4
    assert_same(state_of(whole), state_of(resumed))
    again = make_trainer("discrete", "empty", max_steps=4, resume_if_exists=True)
    again.train()
    assert_same(state_of(whole), state_of(again))


def test_a_run_with_an_average_does_not_go_on_from_one_without(make_trainer):
    without = make_trainer("none", "without", max_steps=2, save_strategy="steps", save_steps=2, ema_decay=0.0)
    without.train()
    with pytest.raises(ValueError, match="trained without EMA, so go on with `ema_decay` 0"):
        make_trainer("none").train(resume_from_checkpoint=f"{without.args.output_dir}/checkpoint-2")


# --- losses that are no numbers ---


def spoil(at, part):
    """Makes weights nan after a step, as an optimiser gone wild would."""

    def action(step, model):
        if step == at:
            with torch.no_grad():
                getattr(model, part).modulation.bias.fill_(math.nan)

    return Interfere(action)


@pytest.mark.parametrize(("head", "term"), [("token_head", "token_loss"), ("latent_head", "latent_loss")])
def test_a_loss_that_is_no_number_stops_the_run_and_names_step_and_term(head, term, make_trainer, tmp_path):
    trainer = make_trainer(
        "continuous", save_strategy="steps", save_steps=1, max_steps=6, callbacks=[spoil(at=3, part=head)]
    )
    with pytest.raises(NonFiniteLossError, match=f"`{term}` was not finite at step 4: training stops"):
        trainer.train()
    checkpoint = tmp_path / "run" / "checkpoint-2"
    assert all(weight.isfinite().all() for weight in load_file(checkpoint / "model.safetensors").values())
    assert not (tmp_path / "run" / "checkpoint-4").exists()


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_gradient_that_is_no_number_stops_the_run_before_it_reaches_the_weights(bad, make_trainer):
    trainer = make_trainer("none")
    weight = trainer.model.token_head.proj.weight
    weight.register_hook(lambda grad: torch.full_like(grad, bad) if trainer.state.global_step == 2 else grad)
    with pytest.raises(NonFiniteLossError, match="`gradient norm` was not finite at step 3"):
        trainer.train()
    assert weight.isfinite().all() and trainer.state.global_step == 2


def test_no_checkpoint_is_written_after_a_loss_that_is_no_number(make_trainer, tmp_path):
    trainer = make_trainer("none", max_steps=1)
    trainer.train()
    trainer._monitor.add({"token_loss": torch.tensor(math.nan)}, 0)  # on a device nobody has looked yet
    with pytest.raises(NonFiniteLossError, match="`token_loss` was not finite at step 1"):
        trainer._save_checkpoint(trainer.model, trial=None)
    assert not (tmp_path / "run" / "checkpoint-1").exists()
