"""Training of latents that are drawn from anchors: when anchors are found, and that they are kept."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.training import texts, two_stages

from ladd_hf import LaddForDiffusionLM, LaddPipeline, LaddSequentialScheduler
from ladd_hf.diffusion.rng import RowGenerator


@pytest.fixture
def fresh(tiny_config):
    """A model whose anchors have not been found."""

    def make(seed=0, **overrides):
        torch.manual_seed(seed)
        return LaddForDiffusionLM(tiny_config("anchors", **overrides))

    return make


def centres(trainer):
    return trainer.model.latent_anchors.points.clone()


def test_anchors_are_those_of_the_encoder_that_is_published(fresh, make_trainer):
    trainer = make_trainer(fresh(), stages=two_stages(3), max_steps=6)
    trainer.train()
    found = centres(trainer)
    assert found.any()
    model = fresh()
    model.load_state_dict(trainer.model.state_dict())
    model.latent_anchors.points.zero_()
    model.gather_latent_anchors(texts())
    torch.testing.assert_close(model.latent_anchors.points, found)


def test_the_likelihood_of_a_latents_own_noise_is_known_before_anything_is_learnt(fresh, make_trainer):
    """The texts are random, so that nothing else is to be known of an anchor, and still it is half guessed."""
    trainer = make_trainer(fresh(), stages=two_stages(2), max_steps=20, learning_rate=1e-9)
    trainer.train()
    losses = [one["latent_loss"] for one in trainer.state.log_history if one.get("latent_loss")]
    assert len(losses) == 18 and sum(losses) / 18 < 0.6 * math.log(6)


def test_they_do_not_change_while_the_encoder_does_not(fresh, make_trainer):
    trainer = make_trainer(fresh(), "first", stages=two_stages(2))
    trainer.train()
    before = centres(trainer)
    trainer.evaluate(texts(8))
    again = make_trainer(trainer.model, "second", stages=[{"name": "mdlm", "steps": 1}, "prior"])
    again.train()
    assert torch.equal(centres(again), before)


def test_an_encoder_that_is_trained_again_gets_others(fresh, make_trainer):
    trainer = make_trainer(fresh(), "first", stages=two_stages(2), learning_rate=0.05)
    trainer.train()
    before = centres(trainer)
    again = make_trainer(trainer.model, "second", stages=two_stages(2), learning_rate=0.05)
    again.train()
    found = centres(again)
    assert not torch.equal(found, before)
    again.model.forget_gathered_latents()
    again.model.gather_latent_anchors(texts())
    torch.testing.assert_close(centres(again), found)


@pytest.mark.parametrize("snap", [True, False])
def test_they_are_found_in_the_latents_that_are_trained_on(fresh, snap):
    """Of an encoder with a variance those are draws; of snapped ones the means are as good, and the same every time."""
    encoder = {"name": "trained", "readout": "last", "variance": "fixed", "std": 0.5}
    model = fresh(latent_prediction_type={"name": "anchors", "count": 6, "snap": snap}, encoder=encoder)
    model.gather_latent_anchors(texts(200))
    drawn = model.encode(trainer_tokens(), random=RowGenerator.from_seed(1, torch.arange(20))).vectors.detach()
    apart = torch.cdist(drawn.flatten(0, 1), model.latent_anchors.points).amin(1).square().mean() / drawn.shape[-1]
    spread = float(model.latent_anchors.spread)
    assert float(apart) < 1e-6 if snap else 0.5 < float(apart) / spread < 2


def test_a_resumed_run_keeps_them(fresh, make_trainer):
    options = {"stages": two_stages(2), "save_strategy": "steps", "save_steps": 4}
    whole = make_trainer(fresh(), "whole", max_steps=6, stages=two_stages(2))
    whole.train()
    cut = make_trainer(fresh(), "cut", max_steps=6, **options)
    cut.train()
    again = make_trainer(fresh(seed=1), "cut", max_steps=6, **options)
    again.train(f"{cut.args.output_dir}/checkpoint-4")
    assert torch.equal(centres(again), centres(whole))
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


@pytest.mark.parametrize(
    "stages",
    [
        None,
        ["joint"],
        [{"name": "mdlm", "steps": 2}, "joint"],
        [{"name": "encoder", "steps": 1}, {"name": "prior", "steps": 1}, "joint"],
    ],
)
def test_a_stage_that_trains_encoder_and_prior_at_once_is_refused(fresh, make_trainer, stages):
    with pytest.raises(ValueError, match=r"found once the encoder is fixed, but `stages\[\d\]`, 'joint', trains it"):
        make_trainer(fresh(), stages=stages)


def test_with_anchors_of_an_earlier_run_only_the_prior_may_be_trained(fresh, make_trainer):
    model = fresh()
    model.gather_latent_anchors(texts())
    before = model.latent_anchors.points.clone()
    trainer = make_trainer(model, stages=["prior"])
    trainer.train()
    assert torch.equal(centres(trainer), before)


def test_a_fixed_pretrained_encoder_needs_no_stages(encoder_model, make_trainer):
    model = encoder_model("anchors", latent_length=1)
    model.latent_anchors.points.zero_()
    model.latent_anchors._found = None
    trainer = make_trainer(model)
    trainer.train()
    assert model.latent_anchors.found and len(model.encode_latents(trainer_tokens()).flatten(0, 1).unique(dim=0)) <= 6


def trainer_tokens():
    return torch.stack([torch.as_tensor(one["input_ids"]) for one in texts(20)])


def test_fewer_latents_than_anchors_are_refused_before_anything_is_trained(fresh, make_trainer):
    count = len(texts()) * fresh().config.latent_length + 1
    model = fresh(latent_prediction_type={"name": "anchors", "count": count})
    with pytest.raises(ValueError, match=rf"asks for {count:,} anchors, but the .* have {count - 1:,} latents"):
        make_trainer(model, stages=two_stages(1))


def test_fewer_different_latents_than_anchors_are_refused(fresh, make_trainer):
    model = fresh(latent_prediction_type={"name": "anchors", "count": 50})
    trainer = make_trainer(model, stages=two_stages(1), data=texts(2) * 32)
    with pytest.raises(ValueError, match="different latents for 50 anchors"):
        trainer.train()


def test_a_saved_pipeline_draws_from_its_anchors(fresh, make_trainer, tmp_path):
    trainer = make_trainer(fresh(), stages=two_stages(3))
    trainer.train()
    trainer.save_pipeline(str(tmp_path / "pipeline"), LaddSequentialScheduler())
    pipe = LaddPipeline.from_pretrained(tmp_path / "pipeline")
    pipe.set_progress_bar_config(disable=True)
    output = pipe(num_steps=4, batch_size=16, generator=torch.Generator().manual_seed(0))
    drawn = output.latents.flatten(0, 1)
    apart = torch.cdist(drawn, pipe.model.latent_anchors.points).amin(1)
    assert apart.max() < 1e-3 and len(drawn.unique(dim=0)) > 1
    bound = pipe.model.nelbo(trainer_tokens()[:4], run=2, path="sequential", num_proposals=8)
    assert bound.nats.isfinite().all()
