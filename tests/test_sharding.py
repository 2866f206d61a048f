"""Sharding that can not work is refused before anything is trained; runs under FSDP2 are in examples' tests."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from accelerate.utils import FullyShardedDataParallelPlugin

from ladd_hf import sharding
from ladd_hf.sharding import check_resuming, check_sharding


def accelerator(**plugins):
    return SimpleNamespace(state=SimpleNamespace(**plugins))


def fsdp(version=2, state_dict_type="FULL_STATE_DICT"):
    plugin = FullyShardedDataParallelPlugin(fsdp_version=version, state_dict_type=state_dict_type)
    return accelerator(fsdp_plugin=plugin)


def test_what_works_is_accepted():
    for stages in (False, True):
        check_sharding(accelerator(), stages)
        check_sharding(fsdp(), stages)
    check_sharding(accelerator(deepspeed_plugin=object()))
    check_resuming(accelerator())
    check_resuming(accelerator(deepspeed_plugin=object()))


def test_what_does_not_is_refused_with_what_does(monkeypatch):
    for given, message in (
        (fsdp(version=1), "set `fsdp_version: 2`"),
        (fsdp(state_dict_type="SHARDED_STATE_DICT"), "set `fsdp_state_dict_type: FULL_STATE_DICT`"),
    ):
        with pytest.raises(ValueError, match=message):
            check_sharding(given)
    with pytest.raises(ValueError, match=r"train in one stage \(`stage_1_steps: 0`\)"):
        check_sharding(accelerator(deepspeed_plugin=object()), two_stages=True)
    with pytest.raises(ValueError, match="can not be resumed"):
        check_resuming(fsdp())
    monkeypatch.setattr(sharding, "is_deepspeed_zero3_enabled", lambda: True)
    with pytest.raises(ValueError, match="use ZeRO-2"):
        check_sharding(accelerator(deepspeed_plugin=object()))


@pytest.mark.parametrize("kind", ["none", "discrete"])
def test_the_trainer_refuses_two_stages_of_an_encoder_under_deepspeed(kind, make_trainer, monkeypatch):
    seen = []
    monkeypatch.setattr("ladd_hf.trainer.check_sharding", lambda _, two_stages: seen.append(two_stages))
    make_trainer(kind)
    make_trainer(kind, "two", stage_1_steps=3)
    assert seen == [False, kind == "discrete"]
