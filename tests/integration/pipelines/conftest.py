"""A quiet pipeline around a tiny model, with either schedule, and a tokenizer for it."""

from __future__ import annotations

import pytest
from helpers.sampling import SCHEDULERS, tiny_tokenizer

from ladd_hf import LaddPipeline


@pytest.fixture
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture
def build(stirred_model):
    """`build(kind, scheduler="joint", tokenizer=None, **config overrides)`: a quiet pipeline around a tiny model."""

    def build(kind, scheduler="joint", tokenizer=None, **overrides):
        if kind.startswith("separate"):  # its latents are denoised before the tokens: there is one schedule for it
            scheduler = "sequential"
        pipe = LaddPipeline(stirred_model(kind, **overrides), SCHEDULERS[scheduler](), tokenizer)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    return build


@pytest.fixture(params=sorted(SCHEDULERS))
def scheduler(request):
    return request.param
