"""Training with the consistency term: the averaged weights teach, a resumed run is exact, its cost is counted."""

from __future__ import annotations

import pytest
import torch
from helpers.adapters import lora
from helpers.training import Interfere, assert_same, averaged_weights, logged, state_of, two_stages
from torch.utils.flop_counter import FlopCounterMode

from ladd_hf import LaddTrainer, TrainingObjective
from ladd_hf.metrics.cost import ATTENTION_ON_A_CPU

TERM = {"consistency_weight": 1.0}
LATE = [{"name": "joint", "ramps": {"consistency_weight": {"steps": 3, "delay": 1}}}]  # from the fourth step on


def watched(trainer, monkeypatch):
    """Keeps the weights of the teacher of each step."""
    seen, ask = {}, LaddTrainer._averaged_teacher

    def asked(self, objective):
        teacher = ask(self, objective)
        if self is trainer and teacher is not None:
            assert not teacher.training and not any(one.requires_grad for one in teacher.parameters())
            weights = {name: one.clone() for name, one in teacher.named_parameters()}
            if self.state.global_step in seen:
                assert_same(weights, seen[self.state.global_step])
            seen[self.state.global_step] = weights
        return teacher

    monkeypatch.setattr(LaddTrainer, "_averaged_teacher", asked)
    return seen


@pytest.mark.parametrize("kind", ["none", "continuous", "discrete"])
def test_the_teacher_has_the_averaged_weights_of_the_step(kind, make_trainer, monkeypatch):
    trainer = make_trainer(kind, gradient_accumulation_steps=2, per_device_train_batch_size=4, **TERM)
    averages = []
    trainer.add_callback(Interfere(lambda step, model: averages.append(averaged_weights(trainer))))
    seen = watched(trainer, monkeypatch)
    trainer.train()
    assert list(seen) == list(range(6)) and all(loss > 0 for loss in logged(trainer, "consistency_loss")[2:])
    for step in range(1, 6):
        assert_same(seen[step], {name: averages[step - 1][name] for name in seen[step]})
    own = {name for name, _ in trainer.model.named_parameters()}
    assert {name for name in own if not name.startswith(("encoder.", "quantizer."))} == seen[0].keys()
    seen.clear()
    trainer.train()  # a second time, with an average of its own
    assert list(seen) == list(range(6))


def test_without_an_average_the_model_teaches_itself(make_trainer, monkeypatch):
    states = []
    for name, options in (("none", {"ema_decay": 0.0}), ("own", {"consistency_teacher": "model"}), ("average", {})):
        trainer = make_trainer("none", name, **TERM, **options)
        seen = watched(trainer, monkeypatch)
        trainer.train()
        assert bool(seen) == (name == "average")
        states.append({key: one.clone() for key, one in trainer.model.state_dict().items()})
    assert_same(states[0], states[1])
    assert any(not torch.equal(one, states[2][key]) for key, one in states[1].items())


def test_before_it_begins_a_run_is_as_it_is_without_it(make_trainer):
    plain = make_trainer("discrete", "plain", stages=["joint"], max_steps=4)
    late = make_trainer("discrete", "late", stages=LATE, max_steps=4, **TERM)
    more = make_trainer("discrete", "more", stages=LATE, max_steps=6, **TERM)
    for trainer in (plain, late, more):
        trainer.train()
    assert_same(state_of(plain), state_of(late))
    assert logged(more)[:4] == logged(plain) and len(logged(more, "consistency_loss")) == 2


def test_a_resumed_run_is_the_whole_run(make_trainer, tmp_path):
    saving = {**TERM, "save_strategy": "steps", "save_steps": 3}
    whole = make_trainer("vector", "whole", **saving)
    whole.train()
    resumed = make_trainer("vector", "resumed", **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert_same(state_of(whole), state_of(resumed))
    assert logged(resumed, "consistency_loss") == logged(whole, "consistency_loss")


def test_its_evaluation_is_counted_from_where_it_begins(make_trainer):
    costs = []
    for name, options in {"off": {}, "on": TERM, "late": {"stages": LATE, **TERM}}.items():
        trainer = make_trainer("none", name, max_steps=12, fully_masked_share=1.0, **options)
        with FlopCounterMode(display=False, custom_mapping=ATTENTION_ON_A_CPU) as counter:
            trainer.train()
        assert trainer.training_flops == pytest.approx(counter.get_total_flops(), rel=0.02), name
        costs.append(trainer.training_flops)
    off, on, late = costs
    assert on / off == pytest.approx(4 / 3, rel=0.05)  # a forward pass beside one, and a backward pass of two
    assert late - off == pytest.approx(8 / 12 * (on - off), rel=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"torch_compile": True, "torch_compile_backend": "eager"},
        {"activation_checkpointing": True},
    ],
    ids=["compiled", "checkpointed"],
)
@pytest.mark.parametrize("teacher", ["average", "model"])
def test_compiling_and_recomputing_change_nothing(options, teacher, make_trainer):
    torch._dynamo.reset()
    plain = make_trainer("none", "plain", **TERM, consistency_teacher=teacher)
    other = make_trainer("none", "other", **TERM, consistency_teacher=teacher, **options)
    for trainer in (plain, other):
        trainer.train()
    for name in ("loss", "consistency_loss"):
        assert logged(other, name) == pytest.approx(logged(plain, name), rel=1e-5)


def test_in_mixed_precision_it_trains_all_weights(make_trainer):
    trainer = make_trainer("discrete", bf16=True, weight_decay=0.0, learning_rate=1e-2, **TERM)
    before = {name: one.clone() for name, one in trainer.model.named_parameters()}
    trainer.train()
    plain = make_trainer("discrete", "plain", bf16=True, weight_decay=0.0, learning_rate=1e-2)
    plain.train()
    moved, expected = (
        {name for name, one in one.model.named_parameters() if not torch.equal(one, before[name])}
        for one in (trainer, plain)
    )
    assert moved == expected


def test_adapters_are_taught_by_their_average(make_trainer, stirred_model, monkeypatch):
    model = stirred_model("none")
    model.add_adapter(lora(["qkv_proj"]))
    trainer = make_trainer(model, max_steps=3, **TERM)
    seen = watched(trainer, monkeypatch)
    trainer.train()
    changed = {name for name, one in seen[2].items() if not torch.equal(one, seen[0][name])}
    assert changed and all("lora" in name for name in changed)


def test_a_stage_of_its_own_comes_after_the_others(make_trainer):
    stages = [*two_stages(2)[:1], {"name": "prior", "steps": 2}, "consistency"]
    trainer, weights = make_trainer("discrete", stages=stages), []
    trainer.add_callback(Interfere(lambda step, model: weights.append(model.encoder.readout.weight.clone())))
    trainer.train()
    assert len(logged(trainer, "consistency_loss")) == 2 and len(logged(trainer)) == 6
    assert torch.equal(weights[2], weights[5])
    assert trainer.args.objective_at(5) == TrainingObjective(consistency_weight=1.0)
