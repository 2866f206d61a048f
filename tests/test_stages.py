"""Stages may be shares of a run, and a run that ends before its latents' prior is trained is refused or told of."""

from __future__ import annotations

import logging
from contextlib import nullcontext

import pytest
import torch
from helpers.training import Interfere, texts
from huggingface_hub import ModelCard
from transformers import TrainerCallback

from ladd_hf import LaddTrainingArguments
from ladd_hf.training.run_facts import prior_is_untrained
from ladd_hf.training.stages import Stages, steps_of


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
        ({"stage_1_steps": 0.25}, {"stage_1_steps": 5}),
        ({"mdlm_steps": 0.25, "stage_1_steps": 0.5}, {"mdlm_steps": 5, "stage_1_steps": 10}),
        ({"mdlm_steps": 0.25, "latent_warmup_steps": 0.5}, {"mdlm_steps": 5, "latent_warmup_steps": 10}),
    ],
)
def test_stages_by_shares_train_what_stages_by_numbers_train(shares, numbers):
    left, right = arguments(max_steps=20, **shares), arguments(max_steps=20, **numbers)
    assert left.stages == right.stages
    assert [left.objective_at(step) for step in range(20)] == [right.objective_at(step) for step in range(20)]


def test_shares_of_a_run_of_unknown_length_are_known_where_it_begins():
    args = arguments(stage_1_steps=0.5)
    with pytest.raises(
        ValueError, match=r"`stage_1_steps` is 0\.5, a share of a run whose number of steps is not known"
    ):
        args.objective_at(0)
    for num_steps in (8, 20):
        args.begin_run(num_steps)
        assert args.stages == Stages(stage_1_steps=num_steps // 2)


def test_a_search_casts_to_a_type_that_keeps_shares():
    args = arguments()
    for name in ("mdlm_steps", "stage_1_steps", "latent_warmup_steps"):
        assert type(getattr(args, name))(0.25) == 0.25, name


def test_a_run_by_epochs_has_its_stages_by_shares(make_trainer):
    frozen = []
    trainer = make_trainer(
        "discrete",
        data=texts(16),
        max_steps=-1,
        num_train_epochs=3,
        stage_1_steps=0.5,
        callbacks=[Interfere(lambda step, model: frozen.append(model.latent_encoder_frozen))],
    )
    trainer.train()
    assert frozen == [False] * 3 + [True] * 3
    assert "| steps | 6, 3 of them stage 1 |" in trainer.model_card().text


# --- runs that are too short ---

TOO_SHORT = {
    "two stages": ({"stage_1_steps": 6}, "`stage_1_steps` is 6, but {length} ends before stage 2"),
    "more than the run": ({"stage_1_steps": 60}, "`stage_1_steps` is 60, but {length} ends before stage 2"),
    "an MDLM before": ({"mdlm_steps": 4, "stage_1_steps": 2}, "`stage_1_steps` is 2 with `mdlm_steps` 4, but {length}"),
    "an MDLM alone": ({"mdlm_steps": 6}, "`mdlm_steps` is 6, but {length} ends before the latents are learnt"),
    "a delay": (
        {"latent_warmup_steps": 10, "latent_warmup_delay": 0.5},
        "`latent_warmup_delay` is 0.5 with `latent_warmup_steps` 10, but {length} ends before the latents' weight",
    ),
    "an MDLM and a rise": (
        {"mdlm_steps": 5, "latent_warmup_steps": 10},
        "`latent_warmup_delay` is 0 with `latent_warmup_steps` 10 with `mdlm_steps` 5, but {length}",
    ),
    "shares": (
        {"mdlm_steps": 0.5, "stage_1_steps": 0.45},
        r"`stage_1_steps` is 0.45 \(3 steps\) with `mdlm_steps` 0.5 \(3 steps\), but {length}",
    ),
}
BY_EPOCHS = {"max_steps": -1, "num_train_epochs": 3, "data": texts(16)}  # 6 steps


@pytest.mark.parametrize("case", TOO_SHORT)
def test_a_run_that_ends_before_its_latents_are_learnt_is_refused_before_its_first_step(case, make_trainer):
    options, message = TOO_SHORT[case]
    with pytest.raises(ValueError, match=message.format(length="`max_steps` 6")):
        make_trainer("discrete", **options)
    trainer = make_trainer("discrete", **BY_EPOCHS, **options)
    before = {name: weight.clone() for name, weight in trainer.model.state_dict().items()}
    with pytest.raises(ValueError, match=message.format(length=r"the run of 6 steps \(`num_train_epochs` 3\)")):
        trainer.train()
    assert trainer.state.global_step == 0
    assert all(torch.equal(weight, before[name]) for name, weight in trainer.model.state_dict().items())


@pytest.mark.parametrize(
    "options",
    [
        {"stage_1_steps": 5},
        {"mdlm_steps": 3, "stage_1_steps": 2},
        {"mdlm_steps": 5},
        {"latent_warmup_steps": 9, "latent_warmup_delay": 0.5},
        {"stage_1_steps": 6, "latent_loss_weight": 0.0},
        {"stage_1_steps": 6, "tokens_alone": True},
    ],
    ids=str,
)
def test_a_run_with_one_step_for_its_latents_or_that_is_to_train_none_is_not_refused(options):
    arguments(max_steps=6, **options)


def test_what_a_model_without_latents_has_no_part_of_does_not_refuse_its_run(make_trainer):
    make_trainer("none", **BY_EPOCHS, latent_warmup_steps=100, latent_warmup_delay=0.5).train()


def test_each_run_of_a_search_is_looked_at_by_itself(make_trainer, tiny_model):
    options = {"model_init": lambda: tiny_model("discrete")}
    trainer = make_trainer(None, max_steps=4, stage_1_steps=2, trainer_options=options)
    for steps, stage_1, fails in ((3, 3, True), (2, 1, False), (1, 1, True), (4, 0.5, False)):
        for name, value in (("max_steps", steps), ("stage_1_steps", stage_1)):  # as a search sets them
            setattr(trainer.args, name, type(getattr(trainer.args, name))(value))
        if fails:
            with pytest.raises(ValueError, match=f"but `max_steps` {steps} ends before stage 2"):
                trainer.train()
        else:
            trainer.train()
            assert trainer.trained_steps == steps


def test_a_resumed_run_does_not_put_steps_that_it_has_made_into_other_stages(make_trainer):
    options = {"max_steps": 8, "stage_1_steps": 0.5, "save_strategy": "steps", "save_steps": 3}
    whole = make_trainer("discrete", "whole", **options)
    whole.train()
    early, late = (f"{whole.args.output_dir}/checkpoint-{step}" for step in (3, 6))
    longer = {**options, "max_steps": 10, "save_strategy": "no"}
    make_trainer("discrete", "early", **longer).train(resume_from_checkpoint=early)
    with pytest.raises(ValueError, match=r"was 4 steps of the resumed run and would be 5 .* give `stage_1_steps` 4"):
        make_trainer("discrete", "late", **longer).train(resume_from_checkpoint=late)
    make_trainer("discrete", "kept", **{**longer, "stage_1_steps": 4}).train(resume_from_checkpoint=late)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage_1_steps": 2.5}, "`stage_1_steps` is 2.5; give a number of steps, or a share"),
        ({"mdlm_steps": float("nan")}, "`mdlm_steps` is nan; give a number"),
        ({"latent_warmup_steps": float("inf")}, "`latent_warmup_steps` is inf; give a number"),
        (
            {"mdlm_steps": 0.5, "stage_1_steps": 0.5},
            "0.5 and `stage_1_steps` 0.5 are shares of the run, and leave nothing",
        ),
    ],
)
def test_lengths_that_are_neither_numbers_nor_shares_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        arguments(**options)


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
    trainer = make_trainer(kind, mdlm_steps=1, stage_1_steps=2, max_steps=6)
    trainer.add_callback(Stop(steps, how))
    with pytest.raises(KeyboardInterrupt) if how == "interrupted" else nullcontext():
        trainer.train()
    trainer.save_pipeline(str(tmp_path / "pipeline"))
    text = ModelCard.load(tmp_path / "pipeline" / "README.md").text
    said = (
        "The prior over this model's latents is untrained: none of its 2 training steps taught it (1 trained the tokens"
    )
    untrained = steps == 2
    assert prior_is_untrained(trainer.model) == untrained
    assert (said in text) == untrained == any(said in one for one in heard)
    assert f"| steps | {steps}, 1 of them of the tokens alone, {min(steps - 1, 2)} of them stage 1 |" in text


def test_a_model_without_latents_or_before_training_is_not_said_to_be_untrained(make_trainer):
    plain = make_trainer("none", max_steps=1)
    plain.train()
    assert "untrained" not in plain.model_card().text
    assert "untrained" not in make_trainer("discrete", "other").model_card().text
