"""Stages may be shares of a run, and a run that ends before its latents' prior is trained is refused or told of."""

from __future__ import annotations

import copy
import json
import logging
from contextlib import nullcontext

import pytest
import torch
from helpers.training import Interfere, averaged_weights, one_stage, texts, two_stages
from huggingface_hub import ModelCard
from transformers import TrainerCallback

from ladd_hf import LaddTrainingArguments, Stage, register_stage
from ladd_hf.training.run_facts import prior_is_untrained
from ladd_hf.training.stage_lengths import steps_of


def arguments(**options):
    return LaddTrainingArguments("out", use_cpu=True, **options)


# --- shares ---


@pytest.mark.parametrize("num_steps", [1, 7, 30, 900])
@pytest.mark.parametrize("share", [0.001, 0.1, 1 / 3, 0.5, 0.999])
def test_a_share_is_the_nearest_number_of_steps_and_at_least_one(share, num_steps):
    assert steps_of(share, num_steps) == max(1, round(share * num_steps + 1e-9))


@pytest.mark.parametrize("number", [0, 1, 5, 5.0])
def test_a_number_of_steps_is_what_it_says_in_a_run_of_any_length(number):
    assert {steps_of(number, num_steps) for num_steps in (1, 10, 1000)} == {number}


@pytest.mark.parametrize(
    ("shares", "numbers"),
    [
        (two_stages(0.25), two_stages(5)),
        (two_stages(0.5, mdlm=0.25), two_stages(10, mdlm=5)),
        (one_stage(0.5, mdlm=0.25), one_stage(10, mdlm=5)),
    ],
    ids=["two stages", "three", "a ramp"],
)
def test_stages_by_shares_train_what_stages_by_numbers_train(shares, numbers):
    left, right = arguments(max_steps=20, stages=shares), arguments(max_steps=20, stages=numbers)
    assert left.stage_plan.lengths() == right.stage_plan.lengths()
    assert [left.objective_at(step) for step in range(20)] == [right.objective_at(step) for step in range(20)]


def test_shares_of_a_run_of_unknown_length_are_known_where_it_begins():
    args = arguments(stages=two_stages(0.5))
    with pytest.raises(ValueError, match=r"'encoder' has `steps` 0\.5, a share of a run whose number of steps is not"):
        args.objective_at(0)
    for num_steps in (8, 20):
        args.begin_run(num_steps)
        assert args.stage_plan.lengths() == [("encoder", num_steps // 2), ("prior", num_steps // 2)]


def test_epochs_of_a_run_are_known_where_it_begins_and_of_a_stream_never():
    args = arguments(stages=[{"name": "encoder", "epochs": 1.5}, "prior"])
    with pytest.raises(ValueError, match=r"'encoder' has 1\.5 `epochs`, and how many steps an epoch has is not known"):
        args.objective_at(0)
    args.begin_run(20, 4)
    assert args.stage_plan.starts == (0, 6)
    args.begin_run(20)
    with pytest.raises(ValueError, match="nor of a stream at all: give it `steps`"):
        args.objective_at(0)


def test_a_search_sets_stages_to_lists():
    assert type(arguments().stages)(two_stages(3)) == two_stages(3)


@pytest.mark.parametrize("length", [{"steps": 0.5}, {"epochs": 1.5}], ids=str)
def test_a_run_by_epochs_has_its_stages_by_shares_and_by_epochs(length, make_trainer):
    frozen = []
    trainer = make_trainer(
        "discrete",
        data=texts(16),
        max_steps=-1,
        num_train_epochs=3,
        stages=[{"name": "encoder", **length}, "prior"],
        callbacks=[Interfere(lambda step, model: frozen.append(model.latent_encoder_frozen))],
    )
    trainer.train()
    assert frozen == [False] * 3 + [True] * 3
    assert "| steps | 6, 3 in the stage 'encoder', 3 in the stage 'prior' |" in trainer.model_card().text


# --- runs that are too short ---

TOO_SHORT = {
    "two stages": (two_stages(6), "`stages` has 'encoder' 6, but {length} ends before the stage 'prior', in which"),
    "more than the run": (two_stages(60), "`stages` has 'encoder' 60, but {length} ends before the stage 'prior'"),
    "an MDLM before": (two_stages(2, mdlm=4), "`stages` has 'mdlm' 4, 'encoder' 2, but {length}"),
    "an MDLM alone": (
        [{"name": "mdlm", "steps": 6}, "joint"],
        "`stages` has 'mdlm' 6, but {length} ends before the stage 'joint', in which the latents are learnt",
    ),
    "a delay": (
        one_stage(10, delay=0.5),
        "`stages` has a ramp of `latent_loss_weight` over `steps` 10 with `delay` 0.5, but {length} ends before the "
        "latents' weight",
    ),
    "an MDLM and a rise": (
        one_stage(10, mdlm=5),
        "`stages` has 'mdlm' 5, then a ramp of `latent_loss_weight` over `steps` 10 with `delay` 0, but {length}",
    ),
    "shares": (
        two_stages(0.45, mdlm=0.5),
        r"`stages` has 'mdlm' 0.5 \(3 steps\), 'encoder' 0.45 \(3 steps\), but {length}",
    ),
    "no prior": (["encoder"], "None of the `stages` 'encoder' trains a prior over the latents: add 'prior' or 'joint'"),
}
BY_EPOCHS = {"max_steps": -1, "num_train_epochs": 3, "data": texts(16)}  # 6 steps


@pytest.mark.parametrize("case", TOO_SHORT)
def test_a_run_that_ends_before_its_latents_are_learnt_is_refused_before_its_first_step(case, make_trainer):
    stages, message = TOO_SHORT[case]
    with pytest.raises(ValueError, match=message.format(length="`max_steps` 6")):
        make_trainer("discrete", stages=stages)
    trainer = make_trainer("discrete", **BY_EPOCHS, stages=stages)
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    with pytest.raises(ValueError, match=message.format(length=r"the run of 6 steps \(`num_train_epochs` 3\)")):
        trainer.train()
    assert trainer.state.global_step == 0
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.model.state_dict().items())


@pytest.mark.parametrize(
    "options",
    [
        {"stages": two_stages(5)},
        {"stages": two_stages(2, mdlm=3)},
        {"stages": [{"name": "mdlm", "steps": 5}, "joint"]},
        {"stages": [{"name": "joint", "steps": 5}, "mdlm"]},
        {"stages": one_stage(9, delay=0.5)},
        {"stages": two_stages(6), "latent_loss_weight": 0.0},
        {"stages": ["encoder"], "latent_loss_weight": 0.0},
        {"stages": two_stages(6), "tokens_alone": True},
    ],
    ids=str,
)
def test_a_run_with_one_step_for_its_latents_or_that_is_to_train_none_is_not_refused(options):
    arguments(max_steps=6, **options)


def test_what_a_model_without_latents_has_no_part_of_does_not_refuse_its_run(make_trainer):
    make_trainer("none", **BY_EPOCHS, stages=one_stage(100, delay=0.5)).train()


def test_each_run_of_a_search_is_looked_at_by_itself(make_trainer, tiny_model):
    options = {"model_init": lambda: tiny_model("discrete")}
    trainer = make_trainer(None, max_steps=4, stages=two_stages(2), trainer_options=options)
    for steps, stage_1, fails in ((3, 3, True), (2, 1, False), (1, 1, True), (4, 0.5, False)):
        for name, value in (("max_steps", steps), ("stages", two_stages(stage_1))):  # as a search sets them
            setattr(trainer.args, name, type(getattr(trainer.args, name))(value))
        if fails:
            with pytest.raises(ValueError, match=f"but `max_steps` {steps} ends before the stage 'prior'"):
                trainer.train()
        else:
            trainer.train()
            assert trainer.trained_steps == steps


def test_a_resumed_run_does_not_put_steps_that_it_has_made_into_other_stages(make_trainer):
    options = {"max_steps": 8, "stages": two_stages(0.5), "save_strategy": "steps", "save_steps": 3}
    whole = make_trainer("discrete", "whole", **options)
    whole.train()
    early, late = (f"{whole.args.output_dir}/checkpoint-{step}" for step in (3, 6))
    longer = {**options, "max_steps": 10, "save_strategy": "no"}
    make_trainer("discrete", "early", **longer).train(resume_from_checkpoint=early)
    with pytest.raises(ValueError, match=r"and had 4 steps of the resumed run and would have 5 .* give it `steps` 4"):
        make_trainer("discrete", "late", **longer).train(resume_from_checkpoint=late)
    make_trainer("discrete", "kept", **{**longer, "stages": two_stages(4)}).train(resume_from_checkpoint=late)


# --- what stages cannot be ---


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (two_stages(2.5), r"`stages\[0\]`: `steps` is 2.5; give a number of steps, or a share"),
        (two_stages(2, mdlm=float("nan")), r"`stages\[0\]`: `steps` is nan; give a number"),
        (two_stages(-1), r"`stages\[0\]`: `steps` is -1; give a number"),
        (two_stages(0), r"`stages\[0\]`: `steps` is 0; give a number"),
        (one_stage(float("inf")), r"`stages\[0\]`: `steps` is inf; give a number"),
        (one_stage(5, delay=1.5), r"`stages\[0\]`: `delay` is 1.5; give a share"),
        (one_stage(5, end=-1), r"`stages\[0\]`: `end` is -1; give a number of 0 or more"),
        (two_stages(0.5, mdlm=0.5), "The `steps` 0.5 and 0.5 of `stages` are shares of the run, and leave nothing"),
        ([{"name": "encoder", "epochs": 0}, "prior"], r"`epochs` is 0; give a number above 0"),
        ([{"name": "encoder", "steps": 2, "epochs": 1}, "prior"], "`steps` is 2 and `epochs` 1: give one of the two"),
        (["encoder", "prior"], r"`stages\[0\]`, 'encoder', has no length, and others come after it"),
        ([{"name": "joint", "steps": 4}], r"`stages\[0\]`, 'joint', is the last and goes on to the end of the run"),
        (
            ["encodr"],
            r"`stages\[0\]`: The stage 'encodr' is unknown; give one of "
            r"\['consistency', 'encoder', 'joint', 'mdlm', 'meanflow', 'prior'\]",
        ),
        ([3], r"`stages\[0\]`: It is 3; give the name of a stage, or a mapping"),
        ([{"steps": 3}], r"`stages\[0\]`: It has no `name`"),
        ([{"name": "joint", "length": 3}], "`a stage` has the unknown 'length'; give some of"),
        ([{"name": "joint", "objective": {"dropout": 0.1}}], "`objective` has the unknown 'dropout'; give some of"),
        ([{"name": "joint", "objective": 3}], "`objective` is 3; give a mapping"),
        ([{"name": "joint", "objective": {"latent_dropout": 3}}], "`latent_dropout` is 3; give a share"),
        ([{"name": "joint", "ramps": {"time_distribution": {}}}], "`ramps` has the unknown 'time_distribution'"),
        ([{"name": "joint", "ramps": {"min_time": {"over": 3}}}], r"`ramps\['min_time'\]` has the unknown 'over'"),
        (
            [{"name": "joint", "objective": {"latent_dropout": 0.6}, "ramps": {"latent_dropout": {"end": 2}}}],
            "`latent_dropout` is 1.2; give a share",
        ),
        ([{"name": "joint", "freeze": ["decoder"]}], r"`freeze` holds 'decoder'; give a list of \['encoder'\]"),
        ([{"name": "joint", "from_average": "encoder"}], r"`from_average` holds 'encoder'; give a list of"),
        ([{"name": "joint", "restart_average": 1}], "`restart_average` is 1; give true or false"),
        ("[joint", r"`stages` is '\[joint', which is not JSON"),
        ({"encoder": {"steps": 3}}, "`stages` is a dict; give a list of stages, such as"),
    ],
)
def test_stages_that_can_not_be_are_refused(stages, message):
    with pytest.raises(ValueError, match=message):
        arguments(stages=stages)


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("mdlm_steps", "{name: mdlm, steps: ...}"),
        ("stage_1_steps", "{name: encoder, steps: ...}, prior"),
        ("stage_1_latent_dropout", "objective: {latent_dropout: ...}"),
        ("latent_warmup_steps", "ramps: {latent_loss_weight: {steps: ...}}"),
    ],
)
def test_earlier_settings_are_refused_with_what_says_the_same_now(name, instead):
    with pytest.raises(ValueError) as caught:
        arguments(**{name: 0.1})
    assert str(caught.value).startswith(f"`{name}` is now a part of `stages`: give ") and instead in str(caught.value)


# --- as they are given and kept ---


def test_stages_are_the_same_as_names_mappings_objects_and_json():
    given = two_stages(3, latent_dropout=0.1)
    objects = [Stage("encoder", steps=3, objective={"latent_dropout": 0.1}), Stage("prior")]
    ways = [arguments(max_steps=9, stages=one) for one in (given, objects, json.dumps(given))]
    assert ways[0].stages == ways[1].stages == ways[2].stages
    kept = LaddTrainingArguments("out", use_cpu=True, stages=json.loads(json.dumps(ways[0].to_dict()["stages"])))
    assert kept.stage_plan.stages == ways[0].stage_plan.stages


def test_a_stage_of_ones_own_is_known_by_its_name():
    stage = register_stage(Stage("tokens then both", objective={"time_distribution": "tokens"}))
    args = arguments(stages=[{"name": stage.name, "steps": 3}, "joint"])
    assert [args.objective_at(step).time_distribution for step in (2, 3)] == ["tokens", "independent"]
    with pytest.raises(ValueError, match="There is a stage 'mdlm' already"):
        register_stage(Stage("mdlm"))


def test_a_stage_may_start_the_whole_model_from_its_average(make_trainer):
    weights, averages = [], []
    stages = [{"name": "joint", "steps": 3}, {"name": "joint", "from_average": ["model"], "restart_average": False}]
    trainer = make_trainer("discrete", stages=stages, max_steps=4, learning_rate=0.1, optim="sgd")
    trainer.add_callback(Interfere(lambda step, model: averages.append(averaged_weights(trainer))))
    trainer.add_callback(Interfere(lambda step, model: weights.append(copy.deepcopy(model.state_dict()))))
    start = trainer.training_step

    def watched(model, inputs, *args, **kwargs):
        loss = start(model, inputs, *args, **kwargs)
        if trainer.state.global_step == 3:
            weights.append(copy.deepcopy(trainer.model.state_dict()))  # as the step began
        return loss

    trainer.training_step = watched
    trainer.train()
    name = "token_head.proj.weight"
    assert torch.equal(weights[3][name], averages[2][name]) and not torch.equal(weights[2][name], averages[2][name])


# --- runs that are stopped early ---


class Stop(TrainerCallback):
    def __init__(self, at, how):
        self.at, self.how = at, how

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.at and self.how == "interrupted":
            raise KeyboardInterrupt
        control.should_training_stop = control.should_training_stop or state.global_step == self.at


@pytest.mark.parametrize("steps", [2, 4])
@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("by a callback", "discrete"),
        ("by a callback", "continuous"),
        ("by a callback", "separate"),
        ("interrupted", "discrete"),
    ],
)
def test_a_pipeline_of_a_run_that_was_stopped_says_whether_its_prior_is_trained(
    how, kind, steps, make_trainer, tmp_path, monkeypatch
):
    heard = []
    monkeypatch.setattr(logging.getLogger("ladd_hf.training.publishing_trainer"), "warning", heard.append)
    trainer = make_trainer(kind, stages=two_stages(2, mdlm=1), max_steps=6)
    trainer.add_callback(Stop(steps, how))
    with pytest.raises(KeyboardInterrupt) if how == "interrupted" else nullcontext():
        trainer.train()
    trainer.save_pipeline(str(tmp_path / "pipeline"))
    text = ModelCard.load(tmp_path / "pipeline" / "README.md").text
    said = (
        "The prior over this model's latents is untrained: none of its 2 training steps taught it (1 in the stage "
        "'mdlm', 1 in the stage 'encoder'), so"
    )
    untrained = steps == 2
    assert prior_is_untrained(trainer.model) == untrained
    assert (said in text) == untrained == any(said in one for one in heard)
    counts = f"1 in the stage 'mdlm', {min(steps - 1, 2)} in the stage 'encoder'"
    counts += ", 1 in the stage 'prior'" if steps == 4 else ""
    assert f"| steps | {steps}, {counts} |" in text


def test_a_model_without_latents_or_before_training_is_not_said_to_be_untrained(make_trainer):
    plain = make_trainer("none", max_steps=1)
    plain.train()
    assert "untrained" not in plain.model_card().text
    assert "untrained" not in make_trainer("discrete", "other").model_card().text
