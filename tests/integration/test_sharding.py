"""Sharding that cannot work is refused before anything is trained; runs under FSDP2 are in examples' tests."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from accelerate.utils import FullyShardedDataParallelPlugin
from helpers.adapters import WAYS, adapted
from helpers.training import two_stages

from ladd_hf.training import fsdp_checks
from ladd_hf.training.fsdp_checks import check_resuming, check_sharding


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
    with pytest.raises(ValueError, match=r"train in one stage \(no `stages`\)"):
        check_sharding(accelerator(deepspeed_plugin=object()), stages=True)
    with pytest.raises(ValueError, match=r"`model.add_adapter\(config\)`"):
        check_sharding(fsdp(), wrapped=True)
    with pytest.raises(ValueError, match="cannot be resumed"):
        check_resuming(fsdp())
    monkeypatch.setattr(fsdp_checks, "is_deepspeed_zero3_enabled", lambda: True)
    with pytest.raises(ValueError, match="use ZeRO-2"):
        check_sharding(accelerator(deepspeed_plugin=object()))


def test_the_trainer_asks_for_what_it_is_about_to_do(make_trainer, stirred_model, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "ladd_hf.training.trainer.check_sharding", lambda _, stages, wrapped: seen.append((stages, wrapped))
    )
    make_trainer("discrete")
    make_trainer("discrete", stages=two_stages(3))
    make_trainer("none", stages=two_stages(3))  # there is no encoder to fix
    for way in WAYS:
        make_trainer(adapted(stirred_model("none"), way))
    assert seen == [(False, False), (True, False), (False, False), (False, True), (False, False)]
