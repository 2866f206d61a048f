"""Fixtures of the tests of schedulers."""

from __future__ import annotations

import pytest

from ladd_hf import LaddJointScheduler, LaddSequentialScheduler

SCHEDULERS = {"joint": LaddJointScheduler, "sequential": LaddSequentialScheduler}


@pytest.fixture(params=sorted(SCHEDULERS))
def scheduler_class(request):
    return SCHEDULERS[request.param]


@pytest.fixture
def scheduler_for(tiny_config):
    """`scheduler_for(class, kind, **config overrides)`: a scheduler with a tiny model's noise processes."""
    return lambda scheduler_class, kind, **overrides: scheduler_class().for_model(tiny_config(kind, **overrides))
