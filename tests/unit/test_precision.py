"""A model in bfloat16 agrees with itself in float32 within stated tolerances, and losses are float32 at least."""

from __future__ import annotations

import pytest
import torch
from helpers.model_calls import KINDS, noised, some_latents, some_tokens

from ladd_hf import RowGenerator, TrainingNoise
from ladd_hf.diffusion.precision import at_least_float32

pytestmark = pytest.mark.usefixtures("torch_seed")


@pytest.fixture(params=KINDS)
def both(request, stirred_model):
    """One model in float32 and in bfloat16."""
    return stirred_model(request.param), stirred_model(request.param).bfloat16()


def test_predictions_agree(both):
    """A token's law diverges by less than 0.001 nats on average, a latent's prediction errs by 0.2 of its spread."""
    tokens, times = noised(some_tokens(16)), torch.rand(16)
    latents = some_latents(both[0], 16)
    exact, rounded = (model(tokens, latents, times, times) for model in both)
    keep = torch.arange(1, 10)  # padding and the mask have no probability
    of_exact, of_rounded = (output.logits[..., keep].float().log_softmax(-1) for output in (exact, rounded))
    divergence = (of_exact.exp() * (of_exact - of_rounded)).sum(-1)
    assert 0 < divergence.mean() < 1e-3
    if latents is not None:
        error = exact.latent_prediction - rounded.latent_prediction.float()
        assert error.abs().max() < 0.2 * exact.latent_prediction.std()


def test_bounds_agree(both, monkeypatch):
    """Token and latent parts of the mean bound differ by less than one part in a hundred.

    Both are given the same codes or anchors: some latents lie so close between two that rounding chooses another.
    """
    tokens = some_tokens(64)
    if both[0].latent_anchors is not None or both[0].config.latent_type == "discrete":
        monkeypatch.setattr(both[1], "encode", both[0].encode)
    exact, rounded = (
        model.nelbo(tokens, generator=RowGenerator.from_seed(0, torch.arange(len(tokens)))) for model in both
    )
    for name in ("token_nats", "latent_nats"):
        of_exact, of_rounded = (float(getattr(bound, name).mean()) for bound in (exact, rounded))
        assert of_rounded == pytest.approx(of_exact, rel=0.01)


def test_losses_agree_and_are_float32(both):
    tokens = some_tokens(64)
    exact, rounded = (
        model(tokens, labels=tokens, noise=TrainingNoise(0, torch.arange(64)), loss_only=True) for model in both
    )
    assert exact.loss.dtype == rounded.loss.dtype == torch.float32
    for name, value in exact.loss_parts.items():
        assert float(rounded.loss_parts[name]) == pytest.approx(float(value), rel=0.02, abs=1e-3), name


@pytest.mark.parametrize("kind", KINDS)
def test_buffers_may_stay_in_float32_beside_weights_that_are_not(kind, stirred_model):
    """Tests the state in which DeepSpeed leaves a model."""
    model, whole = stirred_model(kind), stirred_model(kind).bfloat16()
    for weight in model.parameters():
        weight.data = weight.data.bfloat16()
    tokens, paths = some_tokens(8), ("joint", "sequential")
    for path in paths:
        bounds = [
            one.nelbo(tokens, path=path, generator=RowGenerator.from_seed(0, torch.arange(8))).total_nats
            for one in (model, whole)
        ]
        torch.testing.assert_close(*bounds, rtol=0.05, atol=0)
    assert model.train()(tokens, labels=tokens).loss.isfinite()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_is_widened_and_the_rest_left_alone(dtype):
    wide = at_least_float32(torch.ones(2, dtype=dtype))
    assert wide.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
