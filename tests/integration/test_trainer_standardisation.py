"""Training with latents of an encoder of our own that are standardised: when statistics are gathered, and that they
are kept."""

from __future__ import annotations

import pytest
import torch
from helpers.training import texts, two_stages


def statistics(trainer):
    found = trainer.model.encoder.statistics
    return torch.cat([found.mean, found.std])


@pytest.mark.parametrize("kind", ["continuous", "anchors"])
def test_they_are_those_of_the_encoder_that_is_published(kind, make_trainer, tiny_config):
    from ladd_hf import LaddForDiffusionLM

    torch.manual_seed(0)
    model = LaddForDiffusionLM(tiny_config(kind, encoder_standardization=True))
    trainer = make_trainer(model, stages=two_stages(3), max_steps=6, learning_rate=0.05)
    trainer.train()
    found = statistics(trainer)
    assert found.any()
    anchors = trainer.model.latent_anchors
    if anchors is not None:  # found among what is standardised
        weights = anchors.log_frequencies.exp()[:, None]
        assert ((weights * anchors.points).sum(0).abs() < 0.3).all()
    trainer.model.encoder.statistics.std.zero_()
    trainer.model.encoder.statistics.load_state_dict(trainer.model.encoder.statistics.state_dict())
    trainer.model.gather_latent_statistics(texts())
    torch.testing.assert_close(statistics(trainer), found)


def test_a_resumed_run_keeps_them(make_trainer, tiny_model):
    options = {"stages": two_stages(2), "max_steps": 5, "save_strategy": "steps", "save_steps": 3}
    model = lambda: tiny_model("continuous", encoder_standardization=True)  # noqa: E731
    whole = make_trainer(model(), "whole", **options)
    whole.train()
    cut = make_trainer(model(), "cut", **options)
    cut.train()
    again = make_trainer(model(), "cut", **options)
    again.train(f"{cut.args.output_dir}/checkpoint-3")
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


@pytest.mark.parametrize("stages", [None, [{"name": "mdlm", "steps": 2}, "joint"]])
def test_a_stage_that_trains_encoder_and_prior_at_once_is_refused(stages, make_trainer, tiny_model):
    with pytest.raises(ValueError, match=r"`encoder.standardization` is set, whose statistics are gathered once the"):
        make_trainer(tiny_model("continuous", encoder_standardization=True), stages=stages)


def test_latents_that_tokens_cannot_rely_on_are_of_the_stage_encoder_alone(make_trainer, tiny_model):
    options = {
        "encoder_noise": 0.3,
        "latent_noise_time": 0.2,
        "latent_mask_share": 0.5,
        "latent_replacement_share": 0.2,
    }
    trainer = make_trainer(tiny_model("continuous"), stages=two_stages(2), max_steps=4, **options)
    trainer.train()
    first, second = (trainer.args.objective_at(step) for step in (0, 3))
    for name, value in options.items():
        assert getattr(first, name) == value and getattr(second, name) == 0
    with pytest.raises(
        ValueError, match=r"`latent_noise_time` is 0.2, which is for examples in which only tokens move"
    ):
        make_trainer(tiny_model("continuous"), **options)
