"""Predicted latents scaled to the length that all latents have, before a step."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from ladd_hf import LaddJointScheduler, LaddPipeline, LaddScheduler, LaddSequentialScheduler, NoiseProcess
from ladd_hf.diffusion.rng import RowGenerator

LENGTHS = {"l2": 3**0.5, "unit": 1.0}


def scheduler(rescaling="none", prediction="sample", solver=None, kind=LaddSequentialScheduler):
    process = NoiseProcess(
        mask_token_id=10,
        latent_type="continuous",
        latent_dim=3,
        latent_noise_schedule="sqrt",
        latent_prediction_type=prediction,
    )
    made = kind(noise_process=process, latent_rescaling=rescaling, latent_solver=solver)
    made.set_timesteps(6)
    return made


def stepped(made, step, prediction, latents):
    output = SimpleNamespace(logits=torch.zeros(2, 5, 11), latent_prediction=prediction)
    tokens, random = torch.full((2, 5), 10), RowGenerator.from_seed(0, torch.arange(2))
    return made.step(output, step, tokens, latents, generator=random).prev_latents


def latents(seed=0):
    return torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_length(vectors, length):
    return vectors / vectors.norm(dim=-1, keepdim=True) * length


@pytest.mark.parametrize("solver", ["ddim", "ddpm"])
@pytest.mark.parametrize("rescaling", ["l2", "unit"])
def test_a_step_is_that_of_the_prediction_with_the_known_length(rescaling, solver):
    noisy, prediction = latents(), 0.1 * latents(1)
    expected = stepped(scheduler(solver=solver), 1, with_length(prediction, LENGTHS[rescaling]), noisy)
    torch.testing.assert_close(stepped(scheduler(rescaling, solver=solver), 1, prediction, noisy), expected)


@pytest.mark.parametrize("prediction", ["sample", "epsilon", "v", {"name": "preconditioned", "data_std": 2.0}], ids=str)
@pytest.mark.parametrize("rescaling", ["l2", "unit"])
def test_clean_latents_have_the_length_whatever_is_predicted(rescaling, prediction):
    made = scheduler(rescaling, prediction)
    last = next(i for i in range(6) if made.moves_latents(i) and not made.moves_latents(i + 1))
    found = stepped(made, last, latents(1), latents())
    torch.testing.assert_close(found.norm(dim=-1), torch.full((2, 4), LENGTHS[rescaling], dtype=torch.float64))


def test_a_prediction_that_has_the_length_is_kept_and_nothing_is_scaled_by_default():
    noisy, prediction = latents(), with_length(latents(1), 3**0.5)
    plain = stepped(scheduler(), 1, prediction, noisy)
    torch.testing.assert_close(stepped(scheduler("l2"), 1, prediction, noisy), plain)
    assert scheduler()._latents.known_length is None and scheduler().is_ancestral
    assert not scheduler("l2").is_ancestral and not scheduler("l2").has_marginal_bound


@pytest.mark.parametrize("kind", [LaddSequentialScheduler, LaddJointScheduler, LaddScheduler])
def test_it_is_saved_and_survives_a_change_of_the_scheduler(kind, tmp_path):
    scheduler("unit", kind=kind).save_pretrained(tmp_path)
    loaded = kind.from_pretrained(tmp_path)
    assert loaded.config.latent_rescaling == "unit" and loaded._latents.known_length == 1
    assert LaddJointScheduler.from_config(loaded.config)._latents.known_length == 1


def test_a_pipelines_samples_are_written_with_it(stirred_model):
    model = stirred_model("continuous", latent_normalization="l2")
    texts = []
    for rescaling in ("none", "l2"):
        pipe = LaddPipeline(model, LaddSequentialScheduler(latent_rescaling=rescaling))
        texts.append(pipe(batch_size=8, num_steps=6, generator=torch.Generator().manual_seed(0)))
    plain, scaled = (one.latents for one in texts)
    torch.testing.assert_close(scaled.norm(dim=-1), torch.full((8, 4), 3**0.5))
    assert (plain.norm(dim=-1) - 3**0.5).abs().max() > 0.01


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("continuous", {}, "the model's `latent_normalization` is 'none'"),
        ("continuous", {"latent_normalization": "unit"}, "the model's `latent_normalization` is 'unit'"),
        (
            "continuous",
            {"latent_normalization": "l2", "encoder_standardization": True},
            "with `encoder.standardization`",
        ),
        ("continuous", {"latent_normalization": "l2", "encoder_variance": "fixed"}, "with `encoder.variance`"),
        ("continuous", {"latent_normalization": "l2", "latent_flow_map": True}, "predicts a jump's end"),
        ("discrete", {"latent_normalization": "l2"}, "drawn as they are, not predicted as a mean"),
        ("anchors", {"latent_normalization": "l2"}, "drawn as they are, not predicted as a mean"),
    ],
    ids=str,
)
def test_latents_without_a_known_length_are_refused(kind, settings, said, tiny_config):
    with pytest.raises(ValueError, match=f"`latent_rescaling` is 'l2', but .*{said}"):
        LaddSequentialScheduler(latent_rescaling="l2").for_model(tiny_config(kind, **settings))


def test_unknown_names_are_refused_and_a_model_without_latents_has_none_to_scale(tiny_config):
    for wrong in ("length", True, None, 1.0):
        with pytest.raises(ValueError, match=r"`latent_rescaling` is .*; give 'none', 'l2' or 'unit'"):
            LaddJointScheduler(latent_rescaling=wrong)
    assert LaddJointScheduler(latent_rescaling="l2").for_model(tiny_config("none"))


def test_a_denoiser_of_ones_own_says_its_length_and_nothing_else():
    attributes = {"vocab_size": 11, "max_position_embeddings": 12, "latent_length": 4, "token_time_conditioning": False}
    process = {"mask_token_id": 10, "latent_type": "continuous", "latent_dim": 3, "latent_noise_schedule": "sqrt"}
    config = SimpleNamespace(**attributes, **vars(NoiseProcess(**process)))
    made = LaddSequentialScheduler(latent_rescaling="l2")
    with pytest.raises(ValueError, match=r"`latent_rescaling` is 'l2', but .* has no `latent_normalization`"):
        made.for_model(config)
    config.latent_normalization = "l2"
    assert made.for_model(config).config.latent_rescaling == "l2"
