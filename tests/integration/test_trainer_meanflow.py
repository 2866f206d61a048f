"""The stage `meanflow`: who teaches, what it costs, resumed runs, and the sawtooth from its data to its samples."""

from __future__ import annotations

import pytest
import torch
from helpers.training import assert_same, logged, state_of

from ladd_hf import (
    LaddConfig,
    LaddForDiffusionLM,
    LaddPipeline,
    LaddSequentialScheduler,
    LaddTrainer,
    LaddTrainingArguments,
    Stage,
)
from ladd_hf.metrics.flops import FlopCounter
from ladd_hf.tasks import SawtoothTask

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


def test_the_sawtooth_from_its_data_to_samples_of_one_latent_step(tmp_path):
    task = SawtoothTask(length=8)
    config = LaddConfig.recommended(
        task.vocabulary, "continuous", length=8, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        latent_prediction_type="v", latent_denoiser="separate", latent_pooling="none", latent_flow_map=True,
    )  # fmt: skip
    arguments = LaddTrainingArguments(
        str(tmp_path / "run"), max_steps=12, use_cpu=True, report_to="none", disable_tqdm=True, save_strategy="no",
        per_device_train_batch_size=8, logging_steps=1,
        stages=[{"name": "encoder", "steps": 4}, {"name": "prior", "steps": 4}, "meanflow"],
    )  # fmt: skip
    trainer = LaddTrainer(LaddForDiffusionLM(config), arguments, train_dataset=task.train_dataset(64, seed=0))
    trainer.train()
    trainer.save_model(str(tmp_path / "model"))
    model = LaddForDiffusionLM.from_pretrained(tmp_path / "model")
    assert model.flow_map and model.latent_denoiser.jump_embedding.down_proj.weight.any()
    pipe = LaddPipeline(model, LaddSequentialScheduler(max_latent_steps=1, latent_renoising=0.8))
    found = pipe(num_steps=3, batch_size=2, generator=torch.Generator().manual_seed(0), output_type="seq")
    assert found.nfe == 3 and found.sequences.shape == (2, 8)
