"""The arguments say what is trained at each step: stage 1, then stage 2, or one stage with a warm-up."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math

import pytest
from helpers.registries import kept
from helpers.training import one_stage, two_stages

from ladd_hf import LaddTrainingArguments, TimePath, TrainingObjective, register_loss_term


def arguments(**options):
    return LaddTrainingArguments("out", use_cpu=True, **options)


def test_every_term_of_the_objective_is_an_argument_with_the_same_default():
    args, objective = arguments(), TrainingObjective()
    for field in dataclasses.fields(TrainingObjective):
        assert getattr(args, field.name) == getattr(objective, field.name), field.name
    assert args.objective_at(0) == objective


def test_what_the_objective_says_of_a_term_is_the_help_of_its_argument():
    helps = {
        field.name: field.metadata["help"] for field in dataclasses.fields(LaddTrainingArguments) if field.metadata
    }
    assert helps["latent_dropout"] == (
        "share of examples with dropped latents (p_cfg); needed for classifier-free guidance."
    )
    assert helps["token_weighting"] == helps["latent_weighting"] and "the bound's weight" in helps["token_weighting"]


def test_every_argument_of_ours_explains_itself():
    theirs = {field.name for field in dataclasses.fields(LaddTrainingArguments.__mro__[1])}
    mine = [field for field in dataclasses.fields(LaddTrainingArguments) if field.name not in theirs]
    assert len(mine) > 15 and all(field.metadata.get("help") for field in mine)


@pytest.mark.parametrize(  # of which one excludes the other
    "apart",
    [
        {"encoder_corruption": 0.3, "meanflow_share": 0.7},
        {"adaptive_times": True, "encoder_corruption": 0.0, "meanflow_share": 0.0},
    ],
    ids=str,
)
def test_what_is_set_is_trained(apart):
    options = {
        "adaptive_times": False,
        "time_distribution": "joint",
        "token_weighting": "elbo",
        "latent_weighting": "elbo",
        "token_loss_weight": 0.5,
        "latent_loss_weight": 0.25,
        "min_time": 0.01,
        "time_shift": 2.0,
        "fully_masked_share": 0.1,
        "latent_dropout": 0.2,
        "quantizer_dropout": 0.9,
        "encoder_mask_ratio": 0.35,
        "encoder_noise": 0.5,
        "latent_noise_time": 0.2,
        "latent_mask_share": 0.3,
        "latent_replacement_share": 0.4,
        "contrastive_weight": 0.4,
        "contrastive_mask_ratio": 0.5,
        "contrastive_temperature": 0.6,
        "conditional_independence_weight": 0.7,
        "consistency_weight": 0.6,
        "consistency_min_jump": 0.1,
        "consistency_max_jump": 0.8,
        "consistency_teacher": "model",
        "consistency_clean_latents": True,
        "meanflow_time_mean": -0.5,
        "meanflow_time_std": 1.5,
        "meanflow_start_share": 0.2,
        "meanflow_damping": 3.0,
        "meanflow_tangent": 0.9,
        "meanflow_teacher": "data",
        "latent_kl_weight": 0.8,
        "latent_target_gradient": True,
        "tokens_alone": True,
        "extra_loss_terms": {"own": 0.3},
        **apart,
    }
    assert set(options) == {field.name for field in dataclasses.fields(TrainingObjective)}
    with kept():
        register_loss_term("own", lambda inputs: (inputs.output.logits.sum(), inputs.counts.tokens))
        assert arguments(**options).objective_at(7) == TrainingObjective(**options)
        from_command_line = arguments(**{**options, "extra_loss_terms": '{"own": 0.3}'})
        assert from_command_line.objective_at(7) == TrainingObjective(**options)


@pytest.mark.parametrize(
    "path", [[[1, 1], [1, 0.3], [0, 0]], TimePath(((1, 1), (1, 0.3), (0, 0))), "[[1, 1], [1, 0.3], [0, 0]]"]
)
def test_paths_may_be_data_and_are_saved_as_json(path):
    args = arguments(time_distribution=path, nelbo_paths=[path, "joint"])
    corners = [[1.0, 1.0], [1.0, 0.3], [0.0, 0.0]]
    assert args.time_distribution == corners and args.nelbo_paths == [corners, "joint"]
    assert json.loads(args.to_json_string())["nelbo_paths"] == [corners, "joint"]


# --- two stages ---


def test_stage_1_trains_no_latents_and_has_times_of_its_own():
    args = arguments(
        stages=two_stages(10, fully_masked_share=0.6, latent_dropout=0.05, quantizer_dropout=0.4),
        time_distribution="independent",
        latent_loss_weight=0.5,
        latent_dropout=0.15,
        fully_masked_share=0.1,
        encoder_corruption=0.9,
        encoder_mask_ratio=0.25,
    )
    for step, quantizer_dropout in ((0, 0.4), (5, 0.2)):  # which fades out over the stage
        assert args.stage_plan.at(step).name == "encoder"
        assert args.objective_at(step) == TrainingObjective(
            time_distribution="tokens",
            latent_loss_weight=0.0,
            latent_dropout=0.05,
            quantizer_dropout=quantizer_dropout,
            fully_masked_share=0.6,
            encoder_corruption=0.9,
            encoder_mask_ratio=0.25,
        )
    assert args.stage_plan.at(9).name == "encoder"
    for step in (10, 1000):
        assert args.stage_plan.at(step).name == "prior"
        assert args.objective_at(step) == TrainingObjective(
            latent_loss_weight=0.5, latent_dropout=0.15, fully_masked_share=0.1
        ), "what shapes the encoder ends with stage 1"


def test_an_mdlm_may_come_before_the_stages():
    args = arguments(
        stages=two_stages(10, mdlm=4, quantizer_dropout=0.4),
        token_weighting="elbo",
        fully_masked_share=0.5,
        latent_dropout=0.1,
    )
    for step in (0, 3):
        assert args.objective_at(step) == TrainingObjective(tokens_alone=True, token_weighting="elbo")
        assert args.stage_plan.at(step).name == "mdlm"
    assert [args.stage_plan.at(step).name for step in (4, 13, 14)] == ["encoder", "encoder", "prior"]
    assert args.objective_at(4).quantizer_dropout == 0.4 and args.objective_at(9).quantizer_dropout == 0.2
    assert args.objective_at(14) == arguments(
        stages=two_stages(10), token_weighting="elbo", fully_masked_share=0.5, latent_dropout=0.1
    ).objective_at(10)


def test_with_an_mdlm_before_one_stage_the_warm_up_begins_behind_it():
    args = arguments(stages=one_stage(100, mdlm=50))
    assert [args.objective_at(step).latent_loss_weight for step in (50, 100, 150)] == [0.0, 0.5, 1.0]
    assert args.stage_plan.at(50).freeze is None


# --- one stage ---


@pytest.mark.parametrize("delay", [0.0, 0.2, 1.0])
def test_the_latents_weight_waits_then_rises_on_a_line(delay):
    args = arguments(latent_loss_weight=0.5, stages=one_stage(100, delay=delay))
    weights = [args.objective_at(step).latent_loss_weight for step in range(151)]
    assert all(weight == 0 for weight in weights[: round(100 * delay) + 1])
    assert all(weight == 0.5 for weight in weights[101:])
    if delay < 1:
        assert weights[100] == 0.5
        slopes = [b - a for a, b in itertools.pairwise(weights)][round(100 * delay) : 100]
        assert slopes == pytest.approx([0.5 / (100 - 100 * delay)] * len(slopes))
    assert {args.objective_at(step).token_loss_weight for step in range(0, 151, 10)} == {1.0}


def test_without_a_warm_up_latents_count_from_the_first_step():
    assert arguments().objective_at(0).latent_loss_weight == 1.0


# --- what is refused ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ema_decay": 1.0}, "`ema_decay` is 1.0; give a decay from 0"),
        ({"ema_decay": -0.1}, "`ema_decay` is -0.1"),
        ({"ema_decay": math.nan}, "`ema_decay` is nan"),
        ({"extra_loss_terms": {"none": 1.0}}, "The loss term 'none' is unknown"),
        ({"extra_loss_terms": "{own"}, "is not JSON"),
        ({"extra_loss_terms": [1]}, "give a mapping of names to weights"),
        ({"nelbo_paths": [[[1, 0.5], [0, 0]]]}, r"starts at \(1, 0\.5\)"),
        ({"nelbo_paths": ["diagonal"]}, "'diagonal' is unknown; give one of"),
        ({"nelbo_paths": []}, "`nelbo_paths` is a list; give a list of paths, at least one"),
        ({"nelbo_samples": 0}, "`nelbo_samples` is 0"),
        ({"time_distribution": "diagonal"}, "`time_distribution` 'diagonal' is unknown"),
        ({"stages": two_stages(5, time_distribution="diagonal")}, "`time_distribution` 'diagonal' is unknown"),
        ({"stages": two_stages(5), "time_distribution": "diagonal"}, "`time_distribution` 'diagonal' is unknown"),
        ({"token_weighting": "bound"}, "`token_weighting` 'bound' is unknown"),
        ({"fully_masked_share": 2.0}, "`fully_masked_share` is 2.0"),
        ({"stages": two_stages(5, latent_dropout=-1.0)}, "`latent_dropout` is -1.0"),
        ({"latent_loss_weight": -1.0}, "`latent_loss_weight` is -1.0; give a weight of 0"),
        ({"contrastive_weight": math.nan}, "`contrastive_weight` is nan"),
    ],
)
def test_values_that_cannot_work_are_refused_before_anything_is_trained(options, message):
    with pytest.raises(ValueError, match=message):
        arguments(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"stages": two_stages(0.5, mdlm=2)},
        {"stages": two_stages(0.5)},
        {"stages": one_stage(3)},
        {"tokens_alone": True},
    ],
)
def test_where_weights_rest_for_some_steps_processes_look_for_them(options):
    assert arguments(max_steps=10, **options).ddp_find_unused_parameters
    assert arguments(max_steps=10, ddp_find_unused_parameters=False, **options).ddp_find_unused_parameters is False
    assert arguments(max_steps=10).ddp_find_unused_parameters is None


def test_mixtures_of_paths_hold_data_too():
    args = arguments(time_distribution="joint+[[1, 1], [1, 0.3], [0, 0]]+independent")
    assert args.time_distribution == "joint+[[1.0, 1.0], [1.0, 0.3], [0.0, 0.0]]+independent"
    assert args.objective_at(0).time_distribution == args.time_distribution


def test_a_path_of_a_stage_is_saved_as_data():
    path = TimePath(((1, 1), (1, 0.3), (0, 0)))
    args = arguments(stages=[{"name": "joint", "objective": {"time_distribution": path}}])
    corners = [[1.0, 1.0], [1.0, 0.3], [0.0, 0.0]]
    assert json.loads(args.to_json_string())["stages"][0]["objective"]["time_distribution"] == corners
    assert args.objective_at(0).time_distribution == corners
