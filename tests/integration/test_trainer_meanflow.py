"""The stage `meanflow`: when it teaches what, who teaches, what it costs, and resumed runs.

That one evaluation leads where 64 of the teacher lead takes more steps than a test's model gets:
`tests/unit/diffusion/test_average_velocity.py` shows it where the flow is known, and `docs/ablations.md` on texts.
"""

from __future__ import annotations

import pytest
import torch
from helpers.model_calls import seeded, seeded_texts
from helpers.training import Interfere, assert_same, logged, state_of

from ladd_hf import LaddTrainer, LaddTrainingArguments, Stage
from ladd_hf.metrics.flops import FlopCounter

TERM = {"meanflow_share": 0.75, "fully_masked_share": 0.5}
STAGES = [{"name": "joint", "steps": 3}, "meanflow"]


@pytest.fixture
def jumping(make_trainer, tiny_model):
    """`jumping(folder, **options)`: a trainer of a fresh model that is told where steps lead."""

    def build(folder="run", kind="separate", **options):
        return make_trainer(tiny_model(kind, latent_flow_map=True).train(), folder, **options)

    return build


def test_the_stage_fixes_the_encoder_and_has_jumps():
    stage = Stage("meanflow").complete()
    assert stage.freeze == ("encoder",) and stage.objective["meanflow_share"] == 0.75
    warm = LaddTrainingArguments(
        "run", max_steps=10, use_cpu=True, stages=[{"name": "meanflow", "ramps": {"meanflow_tangent": {"steps": 4}}}]
    )
    assert [warm.objective_at(step).meanflow_tangent for step in (0, 2, 4, 9)] == [0, 0.5, 1, 1]


@pytest.mark.parametrize("kind", ["separate", "continuous"])
def test_no_stage_but_this_one_teaches_where_a_step_leads(kind, jumping):
    """Before it predictions do not depend on that; from its first step on they do."""
    latents, t, changes = torch.randn(16, 4, 3, generator=seeded()), torch.full((16,), 0.8), []

    @torch.no_grad()
    def ask(step, model):
        still, jump = (
            model(seeded_texts(), latents, t, t, latent_target_timesteps=r).latent_prediction for r in (t, t / 2)
        )
        changes.append(float((jump - still).abs().max()))

    jumping(kind=kind, stages=STAGES, callbacks=[Interfere(ask)]).train()
    assert changes[:3] == [0, 0, 0] and 0 < changes[3] < changes[5], changes


@pytest.mark.parametrize("kind", ["separate", "continuous"])
def test_the_averaged_weights_teach_the_stage(kind, jumping, monkeypatch):
    trainer, teachers = jumping(kind=kind, stages=STAGES), []
    ask = LaddTrainer._averaged_teacher
    monkeypatch.setattr(
        LaddTrainer, "_averaged_teacher", lambda self, objective: teachers.append(ask(self, objective)) or teachers[-1]
    )
    trainer.train()
    assert [one is None for one in teachers] == [True] * 3 + [False] * 3
    assert len(logged(trainer, "meanflow_loss")) == 3 and all(loss > 0 for loss in logged(trainer, "meanflow_loss"))
    assert not any(weight.requires_grad for weight in trainer.model.encoder.parameters())


def test_without_an_average_the_model_teaches_itself(jumping):
    states = []
    for name, options in (("none", {"ema_decay": 0.0}), ("own", {"meanflow_teacher": "model"}), ("average", {})):
        trainer = jumping(name, **TERM, **options)
        trainer.train()
        states.append({key: one.clone() for key, one in trainer.model.state_dict().items()})
    assert_same(states[0], states[1])
    assert any(not torch.equal(one, states[2][key]) for key, one in states[1].items())


def test_a_resumed_run_is_the_whole_run(jumping, tmp_path):
    saving = {"stages": STAGES, "save_strategy": "steps", "save_steps": 4}
    whole = jumping("whole", **saving)
    whole.train()
    resumed = jumping("resumed", **saving)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert_same(state_of(whole), state_of(resumed))


def test_its_evaluations_are_counted_from_where_they_begin(jumping):
    costs = {}
    for name, stages in {"off": ["prior"], "on": ["meanflow"], "late": [Stage("prior", steps=3), "meanflow"]}.items():
        trainer = jumping(name, max_steps=9, stages=stages, time_distribution="joint")
        with FlopCounter() as counter:
            trainer.train()
        assert trainer.training_flops == pytest.approx(counter.flops, rel=0.05), name
        costs[name] = trainer.training_flops
    assert costs["off"] < costs["late"] < costs["on"]
    assert costs["late"] - costs["off"] == pytest.approx(2 / 3 * (costs["on"] - costs["off"]), rel=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {"torch_compile": True, "torch_compile_backend": "eager"},
        {"gradient_checkpointing": True},
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 4},
    ],
    ids=str,
)
def test_the_loss_does_not_depend_on_how_it_is_computed(options, jumping):
    plain, other = jumping("plain", **TERM), jumping("other", **TERM, **options)
    for trainer in (plain, other):
        trainer.train()
    assert logged(other, "meanflow_loss") == pytest.approx(logged(plain, "meanflow_loss"), rel=2e-3)


@pytest.mark.parametrize(
    ("settings", "found"),
    [({}, True), (TERM, False), ({"ddp_find_unused_parameters": False}, False), ({"stages": STAGES}, True)],
    ids=str,
)
def test_where_no_jumps_are_drawn_processes_look_for_weights_that_rest(settings, found, jumping):
    trainer = jumping(gradient_checkpointing=True, **settings)  # without it transformers has them always look
    assert trainer.accelerator.ddp_handler.find_unused_parameters is found


def test_a_model_that_is_not_told_is_refused(make_trainer):
    with pytest.raises(ValueError, match=r"`meanflow_share` is 0.75, but this model does not have the time"):
        make_trainer("separate", stages=STAGES).train()
    with pytest.raises(ValueError, match=r"which does nothing for a model whose `latent_type` is 'discrete'"):
        make_trainer("discrete", stages=STAGES).train()
