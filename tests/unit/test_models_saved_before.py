"""Model folders that an earlier layout of the package saved load, and give what they gave then.

`fixtures/make_models.py` made them, with the code of that time.
"""

from __future__ import annotations

import pytest
import torch
from helpers.saved_models import MODELS, NAMES, computed
from safetensors.torch import load_file

from ladd_hf import LaddForDiffusionLM, LaddPipeline, LaddSequentialScheduler


@pytest.mark.parametrize("name", NAMES)
def test_a_model_saved_before_computes_what_it_did(name):
    found, expected = computed(name), load_file(MODELS / f"{name}.safetensors")
    assert found.keys() == expected.keys()
    for what, value in expected.items():
        if value.is_floating_point():
            # To the bit on the machine that made them. Matrix products of another one add up in another order, each
            # rounding by 6e-8 of its size; a changed setting or weight moves far more.
            torch.testing.assert_close(
                found[what], value, rtol=1e-5, atol=1e-6, msg=lambda text, what=what: what + text
            )
        else:
            assert torch.equal(found[what], value), what


@pytest.mark.parametrize("name", NAMES)
def test_it_has_the_weights_it_had_by_the_same_names(name):
    folder = MODELS / name / "model" if name == NAMES[0] else MODELS / name
    saved = load_file(folder / "model.safetensors")
    loaded = LaddForDiffusionLM.from_pretrained(folder).state_dict()
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[weight], value) for weight, value in saved.items())


def test_it_is_saved_again_as_the_same(tmp_path):
    LaddPipeline.from_pretrained(MODELS / NAMES[0]).save_pretrained(tmp_path / NAMES[0])
    again, first = computed(NAMES[0], tmp_path), computed(NAMES[0])
    assert again.keys() == first.keys()
    assert all(torch.equal(again[what], value) for what, value in first.items())


def test_its_schedule_and_tokenizer_are_those_it_was_saved_with():
    pipeline = LaddPipeline.from_pretrained(MODELS / NAMES[0])
    config = pipeline.scheduler.config
    assert type(pipeline.scheduler) is LaddSequentialScheduler
    assert (config.latent_share, config.max_latent_steps) == (0.75, 2)
    assert config.remasking == {"name": "rescale", "rate": 0.1}
    assert pipeline.tokenizer.decode([1, 2, 3]) == "abc" and pipeline.tokenizer.mask_token_id == 10
