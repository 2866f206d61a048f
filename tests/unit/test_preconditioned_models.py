"""Models that predict v or are preconditioned: what their network reads, where they start, how they are saved."""

from __future__ import annotations

import pytest
import torch

from ladd_hf import LaddConfig, LaddForDiffusionLM, LaddPipeline
from ladd_hf.diffusion.preconditioned_latents import PreconditionedLatents

WIDE = {"name": "preconditioned", "data_std": 2.0}


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, 10, (3, 12), generator=generator)
    return tokens, torch.randn(3, 4, 3, generator=generator)


@pytest.mark.parametrize("prediction", ["v", "preconditioned", WIDE], ids=str)
@pytest.mark.parametrize("kind", ["continuous", "separate"])
def test_a_fresh_model_predicts_the_best_linear_estimate(kind, prediction, tiny_model):
    model, (tokens, noisy) = tiny_model(kind, latent_prediction_type=prediction), inputs()
    t = torch.full((3,), 0.4)
    output = model(tokens, noisy, t, t)
    channel = model.latent_channel
    assert isinstance(channel, PreconditionedLatents) and not output.latent_prediction.any()
    signal = channel.schedule.signal_variance(t[0])
    variance = 4.0 if prediction is WIDE else 1.0
    expected = signal.sqrt() * variance / (1 - signal + signal * variance) * noisy
    torch.testing.assert_close(channel.predicted_sample(output.latent_prediction, noisy, 0.4), expected)


@pytest.mark.parametrize("kind", ["continuous", "separate"])
def test_the_network_reads_latents_of_unit_variance(kind, stirred_model):
    """Scaled by hand they say the same to a network that does not scale them."""
    scaling = stirred_model(kind, latent_prediction_type=WIDE)
    plain = stirred_model(kind, latent_prediction_type="preconditioned")
    plain.load_state_dict(scaling.state_dict())
    (tokens, noisy), times = inputs(), torch.tensor([0.1, 0.5, 1.0])
    signal = scaling.latent_channel.schedule.signal_variance(times)[:, None, None]
    by_hand = noisy / (1 - signal + 4 * signal).sqrt()
    found, expected = scaling(tokens, noisy, times, times), plain(tokens, by_hand, times, times)
    torch.testing.assert_close(found.latent_prediction, expected.latent_prediction)
    torch.testing.assert_close(found.logits, expected.logits)
    assert (found.logits - plain(tokens, noisy, times, times).logits)[..., 1:10].abs().max() > 1e-3


def test_without_a_time_the_scale_is_unknown(stirred_model):
    model = stirred_model("continuous", latent_prediction_type=WIDE, latent_time_conditioning=False)
    tokens, noisy = inputs()
    with pytest.raises(ValueError, match=r"The noise level of the latents is an input .* give `latent_timesteps`"):
        model(tokens, noisy)
    plain = stirred_model("continuous", latent_prediction_type="v", latent_time_conditioning=False)
    assert plain(tokens, noisy).latent_prediction.shape == noisy.shape


@pytest.mark.parametrize("prediction", ["v", WIDE], ids=str)
def test_it_is_saved_with_the_model_and_samplers_read_it(prediction, stirred_model, tmp_path):
    model = stirred_model("continuous", latent_prediction_type=prediction)
    model.save_pretrained(tmp_path)
    loaded = LaddForDiffusionLM.from_pretrained(tmp_path)
    assert loaded.config.latent_prediction == model.config.latent_prediction
    pipe = LaddPipeline(loaded)
    assert pipe.scheduler.for_model(loaded.config).noise_process.latent_prediction_type == prediction
    found = pipe(num_steps=3, batch_size=2, length=12, generator=torch.Generator().manual_seed(0), output_type="seq")
    assert found.latents.isfinite().all() and found.nfe == 3


@pytest.mark.parametrize("std", [0, -1, float("inf"), "1"])
def test_a_deviation_that_is_none_is_refused(std):
    with pytest.raises(ValueError, match=r"`latent_prediction_type.data_std` is .*; give a number above 0"):
        LaddConfig(
            vocab_size=5,
            latent_type="continuous",
            latent_length=1,
            latent_dim=2,
            latent_prediction_type={"name": "preconditioned", "data_std": std},
        )
