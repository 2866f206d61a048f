"""Every setting that is a number has its range, and nan, infinity and whatever lies outside are refused by name."""

from __future__ import annotations

import inspect
import math
import re
import typing
from dataclasses import fields

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig, TrainingArguments

from ladd_hf import (
    LaddConfig,
    LaddJointScheduler,
    LaddSequentialScheduler,
    LaddTrainingArguments,
    TrainingObjective,
)
from ladd_hf.diffusion.noise_schedules import GAUSSIAN_SCHEDULES, MASK_SCHEDULES, gaussian_schedule, mask_schedule
from ladd_hf.diffusion.objective import OBJECTIVE_RANGES
from ladd_hf.models.configuration_ladd import NUMBER_RANGES
from ladd_hf.schedulers.run_law import TEMPERATURE_RANGES
from ladd_hf.schedulers.scheduling_ladd import ID_RANGES, RENOISING_RANGES
from ladd_hf.schedulers.scheduling_sequential import STEP_RANGES
from ladd_hf.training.arguments import ARGUMENT_RANGES, THEIR_RANGES
from ladd_hf.utils.number_ranges import NumberRange

ODD = (math.nan, math.inf, -math.inf, -1, 0, 1, 1.5, 2, 2.0, 5e-324, 1e-300, 1e300, 10**30)
OF_ANY_SIGN = ("meanflow_time_mean",)
KIND = {"hidden_size": 8, "num_attention_heads": 2, "vocab_size": 7}
SCHEDULERS = (LaddJointScheduler, LaddSequentialScheduler)


def numeric(annotations):
    """Names that may be a number by their annotations."""
    found = []
    for name, annotation in annotations.items():
        kinds = annotation.split(" | ") if isinstance(annotation, str) else typing.get_args(annotation) or [annotation]
        if {"int", "float", int, float} & set(kinds):
            found.append(name)
    return found


def outside(ranges):
    """Each setting with each odd value that it does not accept."""
    return [(name, value) for name, allowed in ranges.items() for value in ODD if value not in allowed]


def own_fields(kind, base):
    return {field.name: field.type for field in fields(kind) if field.name not in {one.name for one in fields(base)}}


OF_CONFIG = own_fields(LaddConfig, PreTrainedConfig)
OF_SCHEDULERS = {
    kind: {name: one.annotation for name, one in inspect.signature(kind.__init__).parameters.items() if name != "self"}
    for kind in SCHEDULERS
}
RANGES_OF_SCHEDULERS = STEP_RANGES | ID_RANGES | TEMPERATURE_RANGES | RENOISING_RANGES
OPTIONS_OF_SCHEDULES = [
    (registry, name, option)
    for registry in (MASK_SCHEDULES, GAUSSIAN_SCHEDULES)
    for name, make in registry.items()
    for option in inspect.signature(make).parameters
]


@pytest.mark.parametrize(
    ("annotations", "ranges"),
    [
        (OF_CONFIG, NUMBER_RANGES),
        ({field.name: field.type for field in fields(TrainingObjective)}, OBJECTIVE_RANGES),
        (own_fields(LaddTrainingArguments, TrainingArguments), ARGUMENT_RANGES),
        (OF_SCHEDULERS[LaddJointScheduler] | OF_SCHEDULERS[LaddSequentialScheduler], RANGES_OF_SCHEDULERS),
    ],
    ids=["config", "objective", "arguments", "schedulers"],
)
def test_the_table_names_every_setting_that_is_a_number(annotations, ranges):
    assert sorted(numeric(annotations)) == sorted(ranges)
    for name, allowed in ranges.items():
        assert not any(value in allowed for value in (math.nan, math.inf, -math.inf)), name
        assert (-1 in allowed) == (name in OF_ANY_SIGN), name


@pytest.mark.parametrize(("name", "value"), outside(NUMBER_RANGES))
def test_a_configuration_refuses_numbers_outside_of_their_range(name, value):
    with pytest.raises((ValueError, StrictDataclassError), match=name):
        LaddConfig(**{**KIND, name: value})


@pytest.mark.parametrize(("name", "value"), outside(OBJECTIVE_RANGES))
def test_an_objective_refuses_numbers_outside_of_their_range(name, value):
    with pytest.raises(ValueError, match=f"`{name}` is {re.escape(str(value))}; give"):
        TrainingObjective(**{name: value})


@pytest.mark.parametrize(("name", "value"), outside(ARGUMENT_RANGES))
def test_training_arguments_refuse_numbers_outside_of_their_range(name, value, tmp_path):
    with pytest.raises(ValueError, match=f"`{name}` is {re.escape(str(value))}; give"):
        LaddTrainingArguments(str(tmp_path), use_cpu=True, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"), [*outside(THEIR_RANGES), ("max_grad_norm", math.nan), ("max_grad_norm", -1)]
)
def test_nor_are_numbers_that_transformers_lets_pass(name, value, tmp_path):
    with pytest.raises(ValueError, match=f"`{name}` is .*; give"):
        LaddTrainingArguments(str(tmp_path), use_cpu=True, **{name: value})


@pytest.mark.parametrize(("name", "value"), outside(RANGES_OF_SCHEDULERS))
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_scheduler_refuses_numbers_outside_of_their_range(scheduler, name, value):
    if name in OF_SCHEDULERS[scheduler]:
        with pytest.raises(ValueError, match=name):
            scheduler(**{name: value})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 0, "much"])
@pytest.mark.parametrize(("registry", "name", "option"), OPTIONS_OF_SCHEDULES)
def test_a_noise_schedule_refuses_numbers_outside_of_their_range(registry, name, option, value):
    make = mask_schedule if registry is MASK_SCHEDULES else gaussian_schedule
    with pytest.raises(ValueError, match=option.replace("sigma_max", "sigma_min")):
        make({"name": name, option: value})
    setting = {"token_noise_schedule": {"name": name, option: value}}
    if registry is GAUSSIAN_SCHEDULES:
        setting = {"latent_noise_schedule": {"name": name, option: value}, "latent_type": "continuous"}
        setting |= {"latent_length": 2, "latent_dim": 3}
    with pytest.raises(ValueError, match=option.replace("sigma_max", "sigma_min")):
        LaddConfig(**KIND, **setting)


def test_the_ends_of_a_range_belong_to_it_unless_they_are_left_out():
    closed = NumberRange("a share", least=0, most=1)
    opened = NumberRange("a share", least=0, most=1, without_ends=("least", "most"))
    whole = NumberRange("a number", least=0, whole=True)
    assert 0 in closed and 1 in closed and 0.5 in closed and 0 not in opened and 1.0 not in opened and 0.5 in opened
    assert 3 in whole and 3.5 not in whole and "3" not in whole and None not in whole


@pytest.mark.parametrize("size", [2**63, 10**400], ids=["2^63", "10^400"])
def test_whole_numbers_that_no_tensor_holds_are_refused(size):
    codes = {"latent_type": "discrete", "latent_length": 1, "latent_dim": 2}
    with pytest.raises(ValueError, match=r"`vocab_size` is .*; give a number of tokens"):
        LaddConfig(**{**KIND, "vocab_size": size})
    with pytest.raises(ValueError, match=r"`codebook_size` is .*; give a whole number"):
        LaddConfig(**KIND, **codes, quantizer={"name": "finite_scalar", "levels": [3] * 50})
